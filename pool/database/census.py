"""What the deployment holds and does, counted in SQL: the same from every API replica."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pool.database.heartbeats import last_sweep, living_workers
from pool.database.tables import JobEventRow, JobRow, MetaLearnerRow, ModelRow
from pool.domain import JobKind, JobStatus, MetaLearnerStatus, ModelStatus, utc_now

RECOVERY_RATE = "recovered_tasks_per_s"
"""The metric under which a build's progress reports it."""
CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """One look at the deployment."""

    jobs: dict[tuple[JobKind, JobStatus], int]
    oldest_queued: dict[JobKind, datetime]
    models: dict[ModelStatus, int]
    rejected: dict[str, int]
    """Rejected models by reason code."""
    meta_learners: dict[MetaLearnerStatus, int]
    recovery_rate: float
    """Tasks recovered per second, as running builds last reported it, summed."""
    workers: dict[str, int]
    """Living workers by queue."""
    last_sweep: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedJob:
    """A job that has ended, and how long it took from its first start."""

    id: str
    kind: JobKind
    status: JobStatus
    finished_at: datetime
    seconds: float | None
    """None if it never started."""


def take_census(session: Session, *, heartbeat_s: float) -> Census:
    """Count everything; jobs and models, which are many, from an index alone."""
    models, rejected = _models(session)
    workers: dict[str, int] = {}
    for worker in living_workers(session, heartbeat_s=heartbeat_s):
        for queue in worker.queues:
            workers[queue] = workers.get(queue, 0) + 1
    return Census(
        jobs=_jobs(session),
        oldest_queued=_oldest_queued(session),
        models=models,
        rejected=rejected,
        meta_learners=_meta_learners(session),
        recovery_rate=sum(last_recovery_rates(session, _running_builds(session)).values()),
        workers=workers,
        last_sweep=last_sweep(session),
    )


def _jobs(session: Session) -> dict[tuple[JobKind, JobStatus], int]:
    rows = session.execute(
        select(JobRow.kind, JobRow.status, func.count()).group_by(JobRow.kind, JobRow.status)
    )
    return {(JobKind(kind), JobStatus(status)): count for kind, status, count in rows}


def _oldest_queued(session: Session) -> dict[JobKind, datetime]:
    found = {
        kind: session.scalar(
            select(JobRow.created_at)
            .where(JobRow.kind == kind, JobRow.status == JobStatus.QUEUED)
            .order_by(JobRow.created_at)
            .limit(1)
        )
        for kind in JobKind
    }
    return {kind: moment for kind, moment in found.items() if moment is not None}


def _models(session: Session) -> tuple[dict[ModelStatus, int], dict[str, int]]:
    models: dict[ModelStatus, int] = {}
    rejected: dict[str, int] = {}
    rows = session.execute(
        select(ModelRow.status, ModelRow.reason_code, func.count()).group_by(
            ModelRow.status, ModelRow.reason_code
        )
    )
    for status, code, count in rows:
        models[ModelStatus(status)] = models.get(ModelStatus(status), 0) + count
        if status == ModelStatus.REJECTED:
            rejected[code or "unknown"] = count
    return models, rejected


def _meta_learners(session: Session) -> dict[MetaLearnerStatus, int]:
    rows = session.execute(
        select(MetaLearnerRow.status, func.count()).group_by(MetaLearnerRow.status)
    )
    return {MetaLearnerStatus(status): count for status, count in rows}


def _running_builds(session: Session) -> Sequence[str]:
    return session.scalars(
        select(JobRow.id).where(JobRow.kind == JobKind.BUILD, JobRow.status == JobStatus.RUNNING)
    ).all()


def last_recovery_rates(session: Session, job_ids: Sequence[str]) -> dict[str, float]:
    """Tasks recovered per second, as these builds last reported it; others are left out."""
    found: dict[str, float] = {}
    for start in range(0, len(job_ids), CHUNK):
        last = (
            select(JobEventRow.job_id, func.max(JobEventRow.seq).label("seq"))
            .where(
                JobEventRow.job_id.in_(job_ids[start : start + CHUNK]),
                JobEventRow.kind == "progress",
            )
            .group_by(JobEventRow.job_id)
            .subquery()
        )
        rows = session.execute(
            select(JobEventRow.job_id, JobEventRow.payload).join(
                last, (JobEventRow.job_id == last.c.job_id) & (JobEventRow.seq == last.c.seq)
            )
        )
        found |= {job_id: rate for job_id, payload in rows if (rate := _rate(payload)) is not None}
    return found


def _rate(payload: dict[str, Any]) -> float | None:
    rate: float | None = payload.get("metrics", {}).get(RECOVERY_RATE)
    return rate


def finished_since(
    session: Session, since: datetime | None, *, limit: int = 10_000
) -> Iterator[FinishedJob]:
    """Jobs that ended at that moment or later, the earliest first."""
    query = select(
        JobRow.id, JobRow.kind, JobRow.status, JobRow.started_at, JobRow.finished_at
    ).where(JobRow.finished_at.is_not(None))
    if since is not None:
        query = query.where(JobRow.finished_at >= since)
    for job_id, kind, status, started_at, finished_at in session.execute(
        query.order_by(JobRow.finished_at, JobRow.id).limit(limit)
    ):
        assert finished_at is not None  # the query asks for it
        took: timedelta | None = finished_at - started_at if started_at else None
        yield FinishedJob(
            id=job_id,
            kind=JobKind(kind),
            status=JobStatus(status),
            finished_at=finished_at,
            seconds=took.total_seconds() if took is not None else None,
        )


def age_s(moment: datetime) -> float:
    """Seconds since then."""
    return (utc_now() - moment).total_seconds()
