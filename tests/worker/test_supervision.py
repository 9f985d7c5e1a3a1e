"""Jobs in real child processes: once each, killed, resumed, canceled; e2e has whole deployments."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from factories import QUICK_FREE, QUICK_MULTI_TEACHER, build_now, claim_next, order_build
from sqlalchemy import update

from pool.database import jobs, repository
from pool.database.tables import BuildRow, JobEventRow, JobRow
from pool.domain import JobKind, JobStatus, utc_now
from pool.settings import Settings
from pool.storage.store import build_state_key
from pool.usecases.build import cancel_build
from pool.usecases.resume import resume_build
from pool.usecases.sweep import sweep
from worker.context import JobContext
from worker.jobs.build import build_meta_learner
from worker.supervise import LeaseWatch, supervise

MakeModels = Callable[[int], list[str]]
ROOT = Path(__file__).resolve().parents[2]
LONG_FREE = QUICK_FREE | {"outer_steps": 100_000, "save_every": 2}
PATIENCE_S = 120


@pytest.fixture(autouse=True)
def _children_see_this_deployment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPOOL_VAR", str(settings.var_dir))
    monkeypatch.setenv("MODELPOOL_THREADS", "1")


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Poll a condition; a test that waits in vain fails with what it waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


@contextmanager
def supervised(context: JobContext, job_id: str) -> Iterator[threading.Thread]:
    thread = threading.Thread(
        target=supervise, args=(context.settings, context.database, job_id), daemon=True
    )
    thread.start()
    yield thread
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def job_children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "worker.run_job" in child.cmdline()
    ]


def saved_state(context: JobContext, build: BuildRow) -> bool:
    return build_state_key(build.id) in set(context.store.keys("builds/"))


def said_of(context: JobContext, build: BuildRow) -> list[str]:
    """The build's log."""
    with context.database.read() as session:
        events = jobs.events_after(session, build.job_id, 0, limit=999)
        return [event.payload["message"] for event in events if event.kind == "log"]


def sha_of_result(context: JobContext, build: BuildRow) -> str:
    done = build_now(context.database, build.id)
    assert done.job.status == JobStatus.SUCCEEDED, done.job.error
    with context.database.read() as session:
        row = repository.find_meta_learner(
            session, done.organisation_id, done.meta_learner_id or ""
        )
        return row.sha256


def test_a_build_killed_or_canceled_after_a_checkpoint_goes_on_to_the_same_bits(
    context: JobContext, ready_models: MakeModels
) -> None:
    ready_models(2)
    config = QUICK_MULTI_TEACHER | {"steps": 60, "save_every": 20}
    undisturbed, killed, stopped = (
        order_build(context.database, config, seed=3, algorithm="multi_teacher") for _ in range(3)
    )
    build_meta_learner(context, claim_next(context.database, JobKind.BUILD))

    with supervised(context, killed.job_id):
        wait_until(lambda: saved_state(context, killed), "a saved state")
        for child in job_children():
            child.send_signal(signal.SIGKILL)
    assert build_now(context.database, killed.id).job.status == JobStatus.QUEUED
    supervise(context.settings, context.database, killed.job_id)

    with supervised(context, stopped.job_id):
        wait_until(lambda: saved_state(context, stopped), "a saved state")
        with context.database.write() as session:
            cancel_build(session, stopped.organisation_id, stopped.id)
    with context.database.write() as session:
        heir = resume_build(session, context.store, stopped.organisation_id, stopped.id)
    run = claim_next(context.database, JobKind.BUILD)
    assert run.job_id == heir.job_id
    build_meta_learner(context, run)

    for build in (killed, heir):
        assert "last saved state" in " ".join(said_of(context, build))
        assert sha_of_result(context, build) == sha_of_result(context, undisturbed)
        assert not saved_state(context, build)


def test_a_message_of_another_deployment_is_told_from_one_that_came_twice(
    context: JobContext, caplog: pytest.LogCaptureFixture, ready_models: MakeModels
) -> None:
    ready_models(2)
    over = order_build(context.database)
    with context.database.write() as session:
        session.execute(update(JobRow).values(status=JobStatus.CANCELED))
    supervise(context.settings, context.database, over.job_id)
    assert "another deployment" not in caplog.text
    supervise(context.settings, context.database, "job_of_another")
    assert "another deployment" in caplog.text


def test_two_deliveries_of_one_message_run_the_job_once(
    context: JobContext, ready_models: MakeModels
) -> None:
    ready_models(2)
    build = order_build(context.database)
    with supervised(context, build.job_id), supervised(context, build.job_id):
        pass
    supervise(context.settings, context.database, build.job_id)
    done = build_now(context.database, build.id)
    assert (done.job.status, done.job.attempt) == (JobStatus.SUCCEEDED, 1)
    with context.database.read() as session:
        ended = session.query(JobEventRow).filter_by(job_id=build.job_id, kind="status").count()
    assert ended == 1


def test_a_child_that_will_not_stop_is_killed_and_its_job_still_ends_canceled(
    context: JobContext, ready_models: MakeModels
) -> None:
    ready_models(2)
    build = order_build(context.database, LONG_FREE)
    with supervised(context, build.job_id):
        wait_until(lambda: build_now(context.database, build.id).job.progress > 0, "progress")
        for child in job_children():
            child.suspend()
        with context.database.write() as session:
            cancel_build(session, build.organisation_id, build.id)
    assert build_now(context.database, build.id).job.status == JobStatus.CANCELED
    assert not job_children()


@pytest.mark.parametrize("swept", [False, True])
def test_a_run_that_hangs_is_noticed_by_its_lease_and_one_that_finished_is_not(
    context: JobContext, ready_models: MakeModels, swept: bool
) -> None:
    ready_models(2)
    order_build(context.database)
    run = claim_next(context.database, JobKind.BUILD)
    watch = LeaseWatch(run.holder, silence_s=0)

    def is_over() -> bool:
        with context.database.read() as session:
            return watch.is_over(session)

    assert not is_over()
    with context.database.write() as session:  # time passes
        session.execute(update(JobRow).values(lease_until=utc_now()))
    is_over()  # it may have been busy, or without a database: now it could renew
    if swept:
        with context.database.write() as session:
            sweep(session, resend_after_s=60, max_attempts=5)
    assert is_over()
    with context.database.write() as session:
        session.execute(update(JobRow).values(status=JobStatus.SUCCEEDED, holder=None))
    assert not is_over()


def test_a_job_that_kills_its_process_again_and_again_fails_with_the_reason(
    context: JobContext, ready_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_models(2)
    build = order_build(context.database)
    stand_in = ROOT / "tests" / "worker" / "dies_after_claiming.py"
    monkeypatch.setattr("worker.supervise.JOB_COMMAND", (sys.executable, str(stand_in)))
    for _ in range(context.settings.max_attempts):
        with context.database.write() as session:
            session.execute(update(JobRow).values(not_before=None))
        supervise(context.settings, context.database, build.job_id)
    job = build_now(context.database, build.id).job
    assert (job.status, job.error_code) == (JobStatus.FAILED, "process-died")
    assert "5 times" in (job.error or "")


def test_the_process_that_celery_runs_never_imports_torch() -> None:
    code = "import sys, worker.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
