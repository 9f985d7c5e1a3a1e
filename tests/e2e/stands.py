"""One deployment on each broker, with a wire to cut to everything that it stands on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqp import ChannelError
from apart import Apart
from factories import QUICK_MULTI_TEACHER, postgres_database
from journeys import fill_pool, order_build
from proxies import Proxy
from services import address_of, mount_small, rabbitmq_server, redis_server, wire
from sqlalchemy import select
from sqlalchemy.engine import make_url

from pool.database import heartbeats
from pool.database.session import Database
from pool.database.tables import BuildRow, JobEventRow, JobRow, MetaLearnerRow, ModelRow
from pool.database.upload_tables import UploadRow
from pool.domain import FINAL_JOBS, LIVE_MODELS, JobStatus, utc_now
from pool.queue import make_celery
from pool.settings import Settings
from pool.storage.store import build_state_key
from tests.s3_server import ACCESS_KEY, SECRET_KEY, s3_server

LEASE_S = 8
TIMES = {
    "lease_s": str(LEASE_S),
    "sweep_every_s": "1",
    "resend_after_s": "3",
    "orphans_every_s": "2",
    "state_kept_s": "0",  # so that at the end nothing is left
    "device": "cpu",
}
LONG = QUICK_MULTI_TEACHER | {"steps": 800, "save_every": 25}
"""A build of seconds that saves its state several times a second."""
BUCKET = "modelpool"


@dataclass(kw_only=True)
class Stand:
    """A deployment, what it stands on, and the look of a bystander at both."""

    broker_name: str
    server: Apart
    database: Database
    objects: Path
    """The directory in which the store keeps them."""
    broker_url: str
    broker: Proxy | None = None
    sql: Proxy | None = None
    s3: Proxy | None = None
    work_is_small: bool = False
    """Whether the worker's directory is a file system of its own, which can be filled."""

    def order(self, **config: Any) -> str:
        """A build that is long enough to be hit; its id."""
        return order_build(self.server, algorithm="multi_teacher", **(LONG | config))

    def order_short(self) -> str:
        """A build of a second; its id."""
        return order_build(self.server, algorithm="ensemble")

    def wait_for_state(self, build_id: str) -> None:
        """Until the build has saved its state."""
        state = self.objects / build_state_key(build_id)
        self.server.wait_until(state.exists, "a saved state")

    def job(self, build_id: str) -> JobRow:
        """The build's job as the database has it."""
        with self.database.read() as session:
            return session.scalars(select(JobRow).where(JobRow.subject_id == build_id)).one()

    def lease_left_s(self, build_id: str) -> float:
        """How long the build's run may still be silent."""
        until = self.job(build_id).lease_until
        assert until is not None
        return (until - utc_now()).total_seconds()

    def events(self, build_id: str) -> list[JobEventRow]:
        """The build's story."""
        job_id = self.job(build_id).id
        with self.database.read() as session:
            of_job = select(JobEventRow).where(JobEventRow.job_id == job_id)
            return list(session.scalars(of_job.order_by(JobEventRow.seq)))

    def told(self, build_id: str, words: str) -> bool:
        """Whether the build's story has these words."""
        said = (
            f"{event.payload.get('message')} {event.payload.get('error')}"
            for event in self.events(build_id)
        )
        return any(words in each for each in said)

    def wait_until_over(self, build_id: str) -> JobStatus:
        """A build's end, seen in SQL: the API may be away."""
        self.server.wait_until(lambda: self.job(build_id).status in FINAL_JOBS, "the build's end")
        return self.job(build_id).status

    def wait_for_a_sweep(self) -> None:
        """Until another sweep has looked."""

        def last() -> Any:
            with self.database.read() as session:
                return heartbeats.last_sweep(session)

        before = last()
        self.server.wait_until(lambda: last() != before, "a sweep")

    def messages(self) -> int:
        """How many messages wait; the sweep's come and go."""
        settings = Settings(var=self.server.var, broker_url=self.broker_url)
        waiting = 0
        with make_celery(settings).connection_for_read() as connection:
            for queue in ("gpu", "inspect"):
                with suppress(ChannelError):  # Redis has no queue that is empty
                    waiting += connection.SimpleQueue(queue).qsize()
        return waiting

    def empty_the_queue(self) -> None:
        """Lose every message that waits."""
        settings = Settings(var=self.server.var, broker_url=self.broker_url)
        with make_celery(settings).connection_for_read() as connection:
            for queue in ("gpu", "inspect"):
                connection.SimpleQueue(queue).clear()

    def keys(self) -> set[str]:
        """The objects that are there."""
        found = (path for path in self.objects.rglob("*") if path.is_file())
        names = {path.relative_to(self.objects).as_posix() for path in found}
        return {name for name in names if not name.startswith(".")}

    def named(self) -> set[str]:
        """The objects that a record wants to be there."""
        with self.database.read() as session:
            models = select(ModelRow.object_key).where(ModelRow.status.in_(LIVE_MODELS))
            return {*session.scalars(models), *session.scalars(select(MetaLearnerRow.object_key))}

    def assert_all_is_well(self) -> None:
        """Every job ended once, every row is final, every object has its record, nothing waits."""
        with self.database.read() as session:
            jobs = list(session.scalars(select(JobRow)))
            delivered = list(session.scalars(select(MetaLearnerRow.build_id)))
            builds = list(session.scalars(select(BuildRow)))
            uploads = list(session.scalars(select(UploadRow.status)))
            events = list(session.scalars(select(JobEventRow).order_by(JobEventRow.seq)))
        assert {job.status for job in jobs} <= set(FINAL_JOBS)
        assert {job.holder for job in jobs} == {None}
        assert not {"open", "assembling"} & set(uploads)
        for job in jobs:
            story = [event for event in events if event.job_id == job.id]
            assert [event.seq for event in story] == list(range(1, len(story) + 1))
            ends = [
                event.payload["status"]
                for event in story
                if event.kind == "status" and event.payload["status"] in FINAL_JOBS
            ]
            assert ends == [job.status], (job.id, ends)
        done = [build.id for build in builds if build.job.status == JobStatus.SUCCEEDED]
        assert sorted(delivered) == sorted(done)
        self.server.wait_until(lambda: self.keys() == self.named(), "no object without a record")
        self.server.wait_until(lambda: self.messages() == 0, "an empty queue")
        work = self.server.var / "work"
        self.server.wait_until(lambda: not list(work.iterdir()), "no files of dead runs")


@contextmanager
def file_stand(var: Path) -> Iterator[Stand]:
    """The embedded default."""
    with ExitStack() as left:
        small = mount_small(var / "work", left)
        server = _start(left, Apart(var, **TIMES))
        database = Database(f"sqlite:///{var / 'modelpool.db'}")
        left.callback(database.dispose)
        yield Stand(
            broker_name="files",
            server=server,
            database=database,
            objects=var / "objects",
            broker_url="",
            work_is_small=small,
        )


@contextmanager
def server_stand(var: Path, broker: str, *, at: tuple[int, str] | None = None) -> Iterator[Stand]:
    """PostgreSQL, S3, and a broker of the name, `redis` or `rabbitmq`: the local one, or another
    at a port and path."""
    with ExitStack() as left:
        local = {"redis": redis_server, "rabbitmq": rabbitmq_server}[broker]
        port, path = at or left.enter_context(local())
        broker_wire = wire(left, ("127.0.0.1", port))
        scheme = {"redis": "redis://", "rabbitmq": "amqp://guest:guest@"}[broker]
        direct = make_url(left.enter_context(postgres_database()))
        sql = wire(left, address_of(direct))
        buckets = var / "buckets"
        (buckets / BUCKET).mkdir(parents=True)
        endpoint = left.enter_context(s3_server(buckets))
        s3 = wire(left, ("127.0.0.1", int(endpoint.rpartition(":")[2])))
        server = Apart(
            var,
            **TIMES,
            environment="production",
            broker_url=f"{scheme}{broker_wire.address}/{path}",
            database_url=direct.set(host="127.0.0.1", port=sql.port, query={}).render_as_string(
                hide_password=False
            ),
            storage_url=f"s3://{BUCKET}",
            s3_endpoint=s3.address,
            s3_public_endpoint=f"http://{endpoint}",
            s3_access_key=ACCESS_KEY,
            s3_secret_key=SECRET_KEY,
            s3_secure="false",
        )
        database = Database(direct.render_as_string(hide_password=False))
        left.callback(database.dispose)
        small = mount_small(var / "work", left)
        _start(left, server)
        yield Stand(
            broker_name=broker,
            server=server,
            database=database,
            objects=buckets / BUCKET,
            broker_url=f"{scheme}127.0.0.1:{port}/{path}",
            broker=broker_wire,
            sql=sql,
            s3=s3,
            work_is_small=small,
        )


STANDS: dict[str, Callable[[Path], Any]] = {
    "files": file_stand,
    "redis": lambda var: server_stand(var, "redis"),
    "rabbitmq": lambda var: server_stand(var, "rabbitmq"),
}


def _start(left: ExitStack, server: Apart) -> Apart:
    left.callback(server.http.close)
    left.callback(server.kill)
    server.start()
    fill_pool(server, 2)
    return server
