"""What Prometheus reads: the deployment's state from SQL, and this process's own requests.

No label holds an id, a name or anything that a client chose: routes are templates, reasons
are codes.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from pool.database.census import (
    Census,
    FinishedJob,
    age_s,
    finished_since,
    last_recovery_rates,
    take_census,
)
from pool.database.session import Database
from pool.domain import JobKind, JobStatus, MetaLearnerStatus, ModelStatus
from pool.queue import QUEUES
from pool.settings import Settings

log = logging.getLogger(__name__)

disable_created_metrics()  # type: ignore[no-untyped-call]  # series which no alert reads

REMEMBERED_S = 5.0
"""However many scrapers ask, SQL is asked no more often than that."""
LATE_COMMIT = timedelta(minutes=5)
"""How long after a job's end its transaction may still commit."""
PAGE = 10_000
JOB_SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400)
REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TASKS_PER_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Instruments:
    """What one API process measures of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.request_seconds = Histogram(
            "modelpool_http_request_duration_seconds",
            "From a request's arrival to the end of its answer.",
            ("method", "route", "status"),
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "modelpool_http_requests_in_flight",
            "Requests under way, event streams included.",
            registry=self.registry,
        )
        self.problems = Counter(
            "modelpool_http_problems",
            "Refusals and failures by their code; of uploads, those refused at the door.",
            ("method", "route", "code"),
            registry=self.registry,
        )
        self.adaptation_seconds = Histogram(
            "modelpool_adaptation_duration_seconds",
            "From decoded images to predictions: adapting a meta-learner and answering.",
            buckets=REQUEST_SECONDS,
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)


class FinishedJobs:
    """Histograms over every job that ever ended; SQL is asked only for those that ended since."""

    def __init__(self) -> None:
        self._seconds = Histogram(
            "modelpool_job_duration_seconds",
            "From a job's first start to its end: kind build trains, kind inspect examines.",
            ("kind", "status"),
            buckets=JOB_SECONDS,
            registry=None,
        )
        self._rates = Histogram(
            "modelpool_build_recovered_tasks_per_second",
            "Of builds that have ended: the recovery rate they reported last.",
            buckets=TASKS_PER_S,
            registry=None,
        )
        self._until: datetime | None = None
        self._counted: dict[str, datetime] = {}

    def update(self, session: Session) -> None:
        """Count what has ended since the last call."""
        since = self._until - LATE_COMMIT if self._until else None
        while True:
            page = list(finished_since(session, since, limit=PAGE))
            self._count(session, [job for job in page if job.id not in self._counted])
            if len(page) < PAGE:
                break
            since = page[-1].finished_at
        if self._until is not None:
            kept = self._until - LATE_COMMIT
            self._counted = {key: at for key, at in self._counted.items() if at >= kept}

    def _count(self, session: Session, ended: list[FinishedJob]) -> None:
        for job in ended:
            self._counted[job.id] = job.finished_at
            if job.seconds is not None:
                self._seconds.labels(job.kind, job.status).observe(job.seconds)
        builds = [job.id for job in ended if job.kind is JobKind.BUILD]
        for rate in last_recovery_rates(session, builds).values():
            self._rates.observe(rate)
        self._until = max([job.finished_at for job in ended], default=self._until)

    def collect(self) -> Iterator[Metric]:
        """The histograms as they stand."""
        yield from self._seconds.collect()
        yield from self._rates.collect()


class DeploymentCollector(Collector):
    """The deployment's state, counted at scrape time and remembered for a few seconds."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._heartbeat_s = settings.heartbeat_s
        self._database = database
        self._finished = FinishedJobs()
        self._lock = threading.Lock()
        self._last: tuple[float, list[Metric]] | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not ask SQL."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of it; without a database only that it is away."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] >= REMEMBERED_S:
                self._last = (time.monotonic(), self._count())
            yield from self._last[1]

    def _count(self) -> list[Metric]:
        up = GaugeMetricFamily("modelpool_database_up", "Whether the database answered.", value=1)
        try:
            with self._database.read() as session:
                census = take_census(session, heartbeat_s=self._heartbeat_s)
                self._finished.update(session)
        except SQLAlchemyError as error:
            log.warning("cannot count for metrics", extra={"cause": type(error).__name__})
            return [
                GaugeMetricFamily(
                    "modelpool_database_up", "Whether the database answered.", value=0
                )
            ]
        return [up, *_families(census), *self._finished.collect()]


def _families(census: Census) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("modelpool_jobs", "Jobs by state.", labels=("kind", "status"))
    depth = GaugeMetricFamily("modelpool_queue_depth", "Jobs that wait.", labels=("kind",))
    age = GaugeMetricFamily(
        "modelpool_queue_oldest_age_seconds", "Since the job was made that waits longest.",
        labels=("kind",),
    )  # fmt: skip
    for kind in JobKind:
        for status in JobStatus:
            jobs.add_metric((kind, status), census.jobs.get((kind, status), 0))
        depth.add_metric((kind,), census.jobs.get((kind, JobStatus.QUEUED), 0))
        oldest = census.oldest_queued.get(kind)
        age.add_metric((kind,), age_s(oldest) if oldest else 0.0)
    yield from (jobs, depth, age)
    yield _by("modelpool_models", "Models by state.", "status",
              {each: census.models.get(each, 0) for each in ModelStatus})  # fmt: skip
    yield _by("modelpool_models_rejected", "Uploads that inspection refused, by the reason's code.",
              "reason", census.rejected)  # fmt: skip
    yield _by("modelpool_meta_learners", "Meta-learners by state.", "status",
              {each: census.meta_learners.get(each, 0) for each in MetaLearnerStatus})  # fmt: skip
    yield _by("modelpool_workers", "Workers that gave a sign of life lately.", "queue",
              {queue: census.workers.get(queue, 0) for queue in QUEUES.values()})  # fmt: skip
    yield GaugeMetricFamily(
        "modelpool_recovered_tasks_per_second",
        "Tasks recovered by the builds that run, as they last reported.",
        value=census.recovery_rate,
    )
    yield GaugeMetricFamily(
        "modelpool_last_sweep_timestamp_seconds",
        "When abandoned jobs and lost messages were last looked for; 0 if never.",
        value=census.last_sweep.timestamp() if census.last_sweep else 0.0,
    )


def _by(name: str, description: str, label: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def make_instruments(settings: Settings, database: Database) -> Instruments:
    """A process's instruments, with the deployment's state beside them."""
    instruments = Instruments()
    instruments.registry.register(DeploymentCollector(settings, database))
    return instruments
