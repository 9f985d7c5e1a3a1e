"""What breaks under a running build: each fault happens on entering, and is over on leaving."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text
from stands import LEASE_S, Stand


@dataclass(frozen=True, slots=True)
class Fault:
    """How it happens to a stand on which a build runs, and on which brokers the build is hit: it
    resumes from its last saved state then, and goes on undisturbed elsewhere."""

    happens: Callable[[Stand, str, list[str]], AbstractContextManager[None]]
    resumes_on: tuple[str, ...] = ()


@contextmanager
def child_killed(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    _kill(stand.server.job_processes())
    yield


@contextmanager
def worker_killed(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    stand.server.kill_part("worker-gpu")
    yield
    stand.server.wait_until(lambda: not stand.server.job_processes(), "the job's process to end")
    stand.server.start_part("worker-gpu")


@contextmanager
def beat_killed(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    stand.server.kill_part("beat")
    yield
    stand.server.start_part("beat")


@contextmanager
def api_killed(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    """With a client that follows the build."""
    path = f"/v1/builds/{build_id}/events"
    with stand.server.http.stream("GET", path) as events:
        next(events.iter_lines())
        stand.server.kill_part("web")
        yield
    stand.server.start_part("web")


@contextmanager
def everything_killed(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    """As by a power cut."""
    stand.server.kill()
    yield
    stand.server.start()


@contextmanager
def broker_restarted(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    """It is away when a second build is ordered, so that one's message is lost."""
    with _away(stand.broker, stand.server.var / "messages"):
        others.append(stand.order_short())
        yield


@contextmanager
def queue_emptied(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    """With the message of a build that waits for the first to end."""
    others.append(stand.order_short())
    stand.empty_the_queue()
    yield


@contextmanager
def database_restarted(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    """PostgreSQL ends every connection and takes no new one; SQLite is locked for so long that the
    run cannot renew its lease in time."""
    if stand.sql is None:
        with stand.database.write() as session:
            session.connection()  # takes the lock
            yield
            stand.server.wait_until(lambda: stand.lease_left_s(build_id) < LEASE_S / 2, "waiting")
        return
    with _away(stand.sql, Path()):
        with stand.database.engine.connect() as bystander:
            bystander.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        yield
        stand.server.wait_until(lambda: not stand.server.job_processes(), "the run to give up")


@contextmanager
def store_away(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    with _away(stand.s3, stand.objects):
        yield
        said = "The object store did not answer"
        stand.server.wait_until(lambda: stand.told(build_id, said), "the reason of the wait")


@contextmanager
def disk_full(stand: Stand, build_id: str, others: list[str]) -> Iterator[None]:
    if not stand.work_is_small:
        pytest.skip("the worker's directory can be filled where this user may mount one")
    filler = stand.server.var / "work" / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
    except OSError:
        yield
    said = "There was no room on the worker's disk"
    stand.server.wait_until(lambda: stand.told(build_id, said), "the reason of the wait")
    filler.unlink(missing_ok=True)


EVERYWHERE = ("files", "redis", "rabbitmq")
FAULTS = {
    "job's process killed": Fault(child_killed, EVERYWHERE),
    "worker killed": Fault(worker_killed, EVERYWHERE),
    "beat killed": Fault(beat_killed),
    "API killed": Fault(api_killed),
    "whole server killed": Fault(everything_killed, EVERYWHERE),
    "broker restarted": Fault(broker_restarted),
    "queue emptied": Fault(queue_emptied),
    "database restarted": Fault(database_restarted, ("redis", "rabbitmq")),
    "store away": Fault(store_away, EVERYWHERE),
    "disk full": Fault(disk_full, EVERYWHERE),
}


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.kill()


@contextmanager
def _away(wire: object, directory: Path) -> Iterator[None]:
    """A service behind a cut wire; a directory behind a file of its name, as not even root can
    write into one."""
    if wire is not None:
        wire.cut()
        try:
            yield
        finally:
            wire.mend()
        return
    elsewhere = directory.with_name(f"{directory.name}-elsewhere")
    directory.rename(elsewhere)
    directory.write_text("a file where the directory was")
    try:
        yield
    finally:
        directory.unlink()
        elsewhere.rename(directory)
