"""Jobs as tests make, claim, change and read them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import JobEventRow, JobRow
from pool.domain import JobKind, JobRun, utc_now

LEASE_S = 30.0


def new_job(database: Database, kind: JobKind = JobKind.BUILD, **values: Any) -> str:
    with database.write() as session:
        job = jobs.create(session, kind, "subject")
    if values:
        change(database, job.id, **values)
    return job.id


def change(database: Database, job_id: str, **values: Any) -> None:
    with database.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(**values))


def claimed(database: Database, job_id: str, holder: str = "run_a") -> JobRun:
    with database.write() as session:
        run = jobs.claim(session, job_id, holder=holder, lease_s=LEASE_S)
    assert run is not None
    return run


def read(database: Database, job_id: str) -> JobRow:
    with database.read() as session:
        return session.get_one(JobRow, job_id)


def story(database: Database, job_id: str) -> list[JobEventRow]:
    with database.read() as session:
        return jobs.events_after(session, job_id, 0, limit=1000)


@contextmanager
def between(seconds_from: float, seconds_to: float) -> Iterator[Callable[[datetime | None], bool]]:
    """A check that a moment lies this far from when the block ran."""
    before = utc_now()

    def lies_there(moment: datetime | None) -> bool:
        assert moment is not None
        first = before + timedelta(seconds=seconds_from)
        return first <= moment <= utc_now() + timedelta(seconds=seconds_to)

    yield lies_there
