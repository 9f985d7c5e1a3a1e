"""Transitions that meet others: what was decided on an old reading changes nothing."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from job_rows import change, claimed, new_job, read
from sqlalchemy import create_engine, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pool.database import jobs
from pool.database.limit_tables import PredictionCountRow
from pool.database.races import is_lost_race, is_outage
from pool.database.session import Database
from pool.database.tables import JobRow, OrganisationRow, PoolRow
from pool.domain import JobStatus, new_id, utc_now
from pool.errors import LeaseLost
from pool.setup import migrate
from pool.usecases.sweep import sweep


def abandon(session: Session, job: JobRow) -> JobStatus | None:
    return jobs.abandon(session, job, max_attempts=5, why="The worker died")


def test_a_wish_to_cancel_is_heard_while_the_job_is_given_back(database: Database) -> None:
    """Neither queued nor running to whom looks twice: here one looks and changes at once."""
    job_id = new_job(database)
    claimed(database, job_id)

    def cancel() -> bool:
        with database.write() as session:
            return jobs.cancel(session, job_id)

    with ThreadPoolExecutor(1) as other:
        with database.write() as session:
            assert abandon(session, session.get_one(JobRow, job_id)) is JobStatus.QUEUED
            found = other.submit(cancel)
            wait_until_blocked(database, found)
        assert found.result()
    assert read(database, job_id).status == JobStatus.CANCELED


def wait_until_blocked(database: Database, other: "Future[Any]") -> None:
    """Until it waits for a lock, or ended; on SQLite it waits before it begins, unseen."""
    if database.engine.dialect.name == "sqlite":
        return
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    waiting = 0
    while not (waiting or other.done()):
        with database.read() as session:
            waiting = session.scalar(query) or 0


@pytest.mark.parametrize(
    "happened", [{"cancel_requested": True}, {"lease_until": utc_now() + timedelta(hours=1)}]
)
def test_a_job_that_changed_since_it_was_read_is_not_given_back(
    database: Database, happened: dict[str, Any]
) -> None:
    job_id = new_job(database)
    claimed(database, job_id)
    as_it_was = read(database, job_id)
    change(database, job_id, **happened)
    with database.write() as session:
        assert abandon(session, as_it_was) is None
    assert read(database, job_id).status == JobStatus.RUNNING


@pytest.mark.parametrize("released", ["now", "earlier"])
def test_a_canceled_job_does_not_succeed_any_more(database: Database, released: str) -> None:
    """An API of an earlier release only notes the wish, and leaves the end to the worker."""
    job_id = new_job(database)
    run = claimed(database, job_id)
    if released == "earlier":
        change(database, job_id, cancel_requested=True)
    else:
        with database.write() as session:
            assert jobs.cancel(session, job_id)

    def succeed() -> None:
        with database.write() as session:
            session.add(OrganisationRow(id="org_x", name="what it delivers"))
            jobs.finish(session, run, JobStatus.SUCCEEDED)

    with pytest.raises(LeaseLost):
        succeed()
    with database.read() as session:
        assert session.get(OrganisationRow, "org_x") is None


def test_many_sweeps_at_once_send_a_lost_message_once(database: Database) -> None:
    sent: list[str] = []
    database._send = lambda job_id, _: sent.append(job_id)
    job_id = new_job(database)
    sent.clear()
    past = utc_now() - timedelta(seconds=100)
    change(database, job_id, sent_at=past, created_at=past)
    start = threading.Barrier(8)

    def run(_: int) -> None:
        start.wait()
        with database.write() as session:
            sweep(session, resend_after_s=60, max_attempts=5)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(8)))
    assert sent == [job_id]


# What a lost race looks like from the database.


def error_of(action: Callable[[], object]) -> DBAPIError:
    with pytest.raises(DBAPIError) as caught:
        action()
    return caught.value


def test_a_unique_violation_is_a_lost_race_and_other_violations_are_defects(
    database: Database,
) -> None:
    def insert(**values: Any) -> None:
        with database.write() as session:
            session.add(OrganisationRow(**values))

    insert(id="org_1", name="a")
    assert is_lost_race(error_of(lambda: insert(id="org_2", name="a")))
    assert is_lost_race(error_of(lambda: insert(id="org_1", name="b")))
    assert not is_lost_race(error_of(lambda: insert(id="org_3", name=None)))


def test_a_foreign_key_violation_is_a_defect(database: Database) -> None:
    def insert() -> None:
        with database.write() as session:
            day = utc_now().date()
            session.add(PredictionCountRow(organisation_id="nobody", day=day, count=1))

    assert not is_lost_race(error_of(insert))


def test_a_deadlock_is_a_lost_race(postgres_url: str) -> None:

    migrate(postgres_url)
    database = Database(postgres_url)
    with database.write() as session:
        session.add_all([OrganisationRow(id=each, name=each) for each in "ab"])
    both_hold_one = threading.Barrier(2)

    def lock(order: str) -> bool | None:
        try:
            with database.write() as session:
                for number, each in enumerate(order):
                    session.execute(
                        update(OrganisationRow).where(OrganisationRow.id == each).values(name=each)
                    )
                    if number == 0:
                        both_hold_one.wait()
        except DBAPIError as error:
            return is_lost_race(error)
        return None

    with ThreadPoolExecutor(2) as threads:
        assert set(threads.map(lock, ("ab", "ba"))) == {None, True}
    database.dispose()


def test_a_busy_sqlite_is_a_lost_race(embedded: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool.database.session.BUSY_TIMEOUT_MS", 1)
    impatient = Database(str(embedded.engine.url))
    with embedded.write() as session:
        session.execute(select(PoolRow))
        assert is_lost_race(error_of(lambda: _write(impatient)))
    impatient.dispose()


def _write(database: Database) -> None:
    with database.write() as session:
        session.add(OrganisationRow(id=new_id("org"), name="x"))


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "sqlite"])
def test_a_database_that_does_not_answer_is_an_outage_and_no_lost_race(
    scheme: str, tmp_path: Path
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # and does not listen
        nowhere = f"//127.0.0.1:{listener.getsockname()[1]}/x"
        url = f"{scheme}:///{tmp_path}" if scheme == "sqlite" else f"{scheme}:{nowhere}"
        engine = create_engine(url)
        with pytest.raises(DBAPIError) as raised, engine.connect():
            pass
    assert is_outage(raised.value)
    assert not is_lost_race(raised.value)


def test_a_defect_in_a_query_is_no_outage(embedded: Database) -> None:
    with pytest.raises(DBAPIError) as raised, embedded.read() as session:
        session.execute(text("SELECT 1 FROM no_such_table"))
    assert not is_outage(raised.value)
