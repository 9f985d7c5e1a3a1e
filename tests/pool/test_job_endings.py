"""What becomes of a job whose run renews its lease, loses its process, or is asked to stop."""

import pytest
from job_rows import between, change, claimed, new_job, read, story

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import JobRow
from pool.domain import JobKind, JobStatus
from pool.errors import LeaseLost

DIED = "The worker died"


def abandon(database: Database, job: JobRow, *, max_attempts: int = 5) -> JobStatus | None:
    with database.write() as session:
        return jobs.abandon(session, job, max_attempts=max_attempts, why=DIED)


# Leases.


def test_renew_moves_the_leases_of_this_run_alone(database: Database) -> None:
    mine, others, ended = (new_job(database) for _ in range(3))
    claimed(database, mine, "run_a")
    claimed(database, others, "run_b")
    claimed(database, ended, "run_a")
    change(database, ended, status=JobStatus.SUCCEEDED)
    old = read(database, others).lease_until
    with between(500, 500) as in_500_s, database.write() as session:
        assert jobs.renew(session, "run_a", lease_s=500) == 1
    assert in_500_s(read(database, mine).lease_until)
    assert read(database, others).lease_until == old


def test_held_by_lists_the_running_jobs_of_one_run(database: Database) -> None:
    mine, others = new_job(database), new_job(database)
    claimed(database, mine, "run_a")
    claimed(database, others, "run_b")
    with database.read() as session:
        assert [job.id for job in jobs.held_by(session, "run_a")] == [mine]


# A run whose process is gone.


@pytest.mark.parametrize(("attempt", "wait_s"), [(1, 0), (2, 5), (3, 20), (4, 60), (9, 60)])
def test_an_abandoned_job_waits_longer_after_each_attempt(
    database: Database, sent: list[tuple[str, str]], attempt: int, wait_s: float
) -> None:
    job_id = new_job(database)
    claimed(database, job_id)
    change(database, job_id, attempt=attempt)
    sent.clear()
    with between(wait_s, wait_s) as after_the_wait:
        assert abandon(database, read(database, job_id), max_attempts=10) is JobStatus.QUEUED
    job = read(database, job_id)
    assert (job.status, job.holder, job.lease_until) == (JobStatus.QUEUED, None, None)
    assert after_the_wait(job.not_before)
    assert sent == ([] if wait_s else [(job_id, JobKind.BUILD)])
    assert story(database, job_id)[-1].payload == {"status": JobStatus.QUEUED, "error": DIED}


@pytest.mark.parametrize(("attempt", "wait_s"), [(1, 0), (2, 5), (3, 20), (5, 20), (900, 20)])
def test_an_outage_delays_a_job_more_and_more_and_never_ends_it(
    database: Database, attempt: int, wait_s: float
) -> None:
    job_id = new_job(database)
    claimed(database, job_id)
    change(database, job_id, attempt=attempt)
    with between(wait_s, wait_s) as after_the_wait, database.write() as session:
        job = session.get_one(JobRow, job_id)
        ended = jobs.abandon(session, job, max_attempts=5, why="No store", outage=True)
    job = read(database, job_id)
    assert (ended, job.status, job.attempt) == (JobStatus.QUEUED, JobStatus.QUEUED, min(attempt, 3))
    assert after_the_wait(job.not_before)
    assert story(database, job_id)[-1].payload["error"] == "No store"


def test_an_abandoned_job_fails_after_its_last_attempt(database: Database) -> None:
    job_id = new_job(database)
    claimed(database, job_id)
    change(database, job_id, attempt=5)
    assert abandon(database, read(database, job_id), max_attempts=5) is JobStatus.FAILED
    job = read(database, job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "process-died")
    assert job.error is not None
    assert job.error.startswith("The worker died 5 times")
    assert job.finished_at is not None


def test_an_abandoned_job_ends_canceled_if_somebody_asked(database: Database) -> None:
    job_id = new_job(database)
    claimed(database, job_id)
    change(database, job_id, cancel_requested=True)  # by an API of an earlier release
    assert abandon(database, read(database, job_id)) is JobStatus.CANCELED
    assert read(database, job_id).finished_at is not None


def test_who_abandons_a_job_that_moved_on_changes_nothing(database: Database) -> None:
    job_id = new_job(database)
    claimed(database, job_id)
    stale = read(database, job_id)
    change(database, job_id, holder="run_b")
    assert abandon(database, stale) is None
    assert read(database, job_id).holder == "run_b"
    assert story(database, job_id) == []


# Canceling.


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING])
def test_a_job_that_has_not_ended_is_canceled_at_once(
    database: Database, status: JobStatus
) -> None:
    job_id = new_job(database)
    if status is JobStatus.RUNNING:
        claimed(database, job_id)
    with database.write() as session:
        assert jobs.cancel(session, job_id)
    job = read(database, job_id)
    assert (job.status, job.holder, job.lease_until) == (JobStatus.CANCELED, None, None)
    assert job.finished_at is not None
    assert [event.payload["status"] for event in story(database, job_id)] == ["canceled"]


def test_the_run_of_a_canceled_job_can_write_nothing_and_its_supervisor_sees_why(
    database: Database,
) -> None:
    job_id = new_job(database)
    run = claimed(database, job_id, "run_a")
    with database.write() as session:
        assert not jobs.is_canceled(session, job_id)
        jobs.cancel(session, job_id)
    with database.write() as session:
        assert jobs.is_canceled(session, job_id)
        assert jobs.renew(session, "run_a", lease_s=60) == 0
        with pytest.raises(LeaseLost):
            jobs.record(session, run, "progress", {}, progress=0.5)
        with pytest.raises(LeaseLost):
            jobs.reset_attempts(session, run)
        with pytest.raises(LeaseLost):
            jobs.finish(session, run, JobStatus.FAILED)
    assert len(story(database, job_id)) == 1


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED])
def test_an_ended_job_cannot_be_canceled(database: Database, status: JobStatus) -> None:
    job_id = new_job(database, status=status)
    with database.write() as session:
        assert not jobs.cancel(session, job_id)
    assert (read(database, job_id).status, story(database, job_id)) == (status, [])
