"""A job's states change by compare-and-swap: one process wins, the others write nothing."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from job_rows import LEASE_S, between, change, claimed, new_job, read, story

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import JobRow
from pool.domain import JobKind, JobRun, JobStatus, utc_now
from pool.errors import LeaseLost

# Claiming.


def test_of_many_threads_claiming_one_job_exactly_one_wins(database: Database) -> None:
    job_id = new_job(database)
    n_threads = 8
    start = threading.Barrier(n_threads)

    def claim(number: int) -> JobRun | None:
        start.wait()
        with database.write() as session:
            return jobs.claim(session, job_id, holder=f"run_{number}", lease_s=LEASE_S)

    with ThreadPoolExecutor(n_threads) as threads:
        runs = [run for run in threads.map(claim, range(n_threads)) if run is not None]

    assert len(runs) == 1
    job = read(database, job_id)
    assert (job.status, job.holder, job.attempt) == (JobStatus.RUNNING, runs[0].holder, 1)


def test_a_claim_says_what_to_do_and_for_how_long_it_holds(database: Database) -> None:
    job_id = new_job(database, JobKind.INSPECT)
    with between(LEASE_S, LEASE_S) as in_a_lease:
        run = claimed(database, job_id)
    assert run == JobRun(
        job_id=job_id, kind=JobKind.INSPECT, subject_id="subject", attempt=1, holder="run_a"
    )
    job = read(database, job_id)
    assert in_a_lease(job.lease_until)
    assert job.started_at is not None


def test_a_second_attempt_counts_but_keeps_the_first_start(database: Database) -> None:
    job_id = new_job(database)
    claimed(database, job_id)
    first_start = read(database, job_id).started_at
    change(database, job_id, status=JobStatus.QUEUED, holder=None)
    assert claimed(database, job_id, "run_b").attempt == 2
    assert read(database, job_id).started_at == first_start


@pytest.mark.parametrize("status", [each for each in JobStatus if each is not JobStatus.QUEUED])
def test_only_a_queued_job_can_be_claimed(database: Database, status: JobStatus) -> None:
    job_id = new_job(database, status=status)
    with database.write() as session:
        assert jobs.claim(session, job_id, holder="run_a", lease_s=LEASE_S) is None


def test_a_job_cannot_be_claimed_before_its_time(database: Database) -> None:
    job_id = new_job(database, not_before=utc_now() + timedelta(hours=1))
    with database.write() as session:
        assert jobs.claim(session, job_id, holder="run_a", lease_s=LEASE_S) is None
    change(database, job_id, not_before=utc_now())
    claimed(database, job_id)


def test_the_next_job_is_the_longest_waiting_of_its_kind_that_is_due(database: Database) -> None:
    now = utc_now()
    later, earlier, not_due, running, _ = (
        new_job(database, JobKind.INSPECT, created_at=now - timedelta(seconds=10)),
        new_job(database, JobKind.INSPECT, created_at=now - timedelta(seconds=20)),
        new_job(
            database,
            JobKind.INSPECT,
            created_at=now - timedelta(seconds=30),
            not_before=now + timedelta(hours=1),
        ),
        new_job(database, JobKind.INSPECT, created_at=now - timedelta(seconds=40)),
        new_job(database, JobKind.BUILD, created_at=now - timedelta(seconds=50)),
    )
    claimed(database, running)
    found = []
    for _attempt in range(3):
        with database.read() as session:
            found.append(jobs.next_queued(session, JobKind.INSPECT))
        if found[-1] is not None:
            claimed(database, found[-1])
    assert found == [earlier, later, None]
    assert read(database, not_due).status == JobStatus.QUEUED


# What a run writes, and that it writes nothing once it lost its job.

WRITES: dict[str, Callable[[Any, JobRun], None]] = {
    "record": lambda session, run: jobs.record(
        session, run, "progress", {"step": 1}, progress=0.7, eta_s=3.0, stage="late"
    ),
    "finish": lambda session, run: jobs.finish(session, run, JobStatus.SUCCEEDED),
    "reset_attempts": jobs.reset_attempts,
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("how", ["held by another run", "queued again", "canceled", "succeeded"])
def test_a_run_that_lost_its_job_writes_nothing(database: Database, write: str, how: str) -> None:
    job_id = new_job(database)
    run = claimed(database, job_id)
    values = {
        "held by another run": {"holder": "run_b", "attempt": 2},
        "queued again": {"holder": None, "status": JobStatus.QUEUED},
        "canceled": {"holder": None, "status": JobStatus.CANCELED},
        "succeeded": {"status": JobStatus.SUCCEEDED},
    }[how]
    change(database, job_id, **values)
    before = {c.name: getattr(read(database, job_id), c.name) for c in JobRow.__table__.columns}

    with pytest.raises(LeaseLost), database.write() as session:
        WRITES[write](session, run)

    after = {c.name: getattr(read(database, job_id), c.name) for c in JobRow.__table__.columns}
    assert after == before
    assert story(database, job_id) == []


def test_record_moves_progress_stage_and_story_on(database: Database) -> None:
    job_id = new_job(database)
    run = claimed(database, job_id)
    with database.write() as session:
        jobs.record(
            session, run, "progress", {"step": 3}, progress=0.25, eta_s=12.5, stage="warm-up"
        )
        jobs.record(session, run, "log", {"message": "a line"})
    job = read(database, job_id)
    assert (job.progress, job.eta_s, job.stage) == (0.25, 12.5, "warm-up")
    assert [(e.seq, e.kind, e.payload) for e in story(database, job_id)] == [
        (1, "progress", {"step": 3}),
        (2, "log", {"message": "a line"}),
    ]


def test_event_numbers_have_no_gaps_when_threads_of_one_run_write(database: Database) -> None:
    job_id = new_job(database)
    run = claimed(database, job_id)

    def write(number: int) -> None:
        for step in range(5):
            with database.write() as session:
                jobs.record(session, run, "progress", {"thread": number, "step": step})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))

    assert [event.seq for event in story(database, job_id)] == list(range(1, 21))


def test_events_after_a_number_come_in_order_and_limited(database: Database) -> None:
    job_id = new_job(database)
    run = claimed(database, job_id)
    with database.write() as session:
        for step in range(6):
            jobs.record(session, run, "progress", {"step": step})
    with database.read() as session:
        found = jobs.events_after(session, job_id, 2, limit=3)
    assert [event.seq for event in found] == [3, 4, 5]


@pytest.mark.parametrize(
    ("status", "progress"), [(JobStatus.SUCCEEDED, 1.0), (JobStatus.FAILED, 0.5)]
)
def test_finish_lets_go_of_the_job(database: Database, status: JobStatus, progress: float) -> None:
    job_id = new_job(database)
    run = claimed(database, job_id)
    with database.write() as session:
        jobs.record(session, run, "progress", {}, progress=0.5, eta_s=9.0)
        jobs.finish(session, run, status, error_code="a-code", error="what went wrong")
    job = read(database, job_id)
    assert (job.status, job.progress) == (status, progress)
    assert (job.holder, job.lease_until, job.eta_s) == (None, None, None)
    assert (job.error_code, job.error) == ("a-code", "what went wrong")
    assert job.finished_at is not None
    assert story(database, job_id)[-1].payload == {"status": status, "error": "what went wrong"}


def test_a_saved_state_forgets_the_attempts_before_it(database: Database) -> None:
    job_id = new_job(database)
    run = claimed(database, job_id)
    change(database, job_id, attempt=4)
    with database.write() as session:
        jobs.reset_attempts(session, run)
    assert read(database, job_id).attempt == 1
