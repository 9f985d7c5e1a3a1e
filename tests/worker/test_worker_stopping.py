"""A real Celery worker: its signs of life, and what becomes of its job when it is asked to stop."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from factories import QUICK_FREE, build_now, order_build

from pool.database import heartbeats, jobs
from pool.database.heartbeat_tables import HeartbeatRow
from pool.database.session import Database
from pool.domain import JobStatus
from pool.queue import JobQueue, make_celery
from pool.settings import Settings
from worker.context import JobContext
from worker.device import describe

ROOT = Path(__file__).resolve().parents[2]
LONG_FREE = QUICK_FREE | {"outer_steps": 100_000, "save_every": 2}
PATIENCE_S = 120


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


@contextmanager
def celery_worker(settings: Settings, name: str) -> Iterator[psutil.Popen]:
    """`celery worker` for builds, as the Procfile starts it."""
    celery = shutil.which("celery", path=str(Path(sys.executable).parent))
    assert celery
    worker = psutil.Popen(
        [celery, "--quiet", "-A", "worker.main", "worker", "-Q", "gpu", "-c", "1", "-n", name],
        cwd=ROOT,
        env=os.environ | {"MODELPOOL_VAR": str(settings.var_dir), "MODELPOOL_DEVICE": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield worker
    finally:
        doomed = worker.children(recursive=True) if worker.is_running() else []
        for process in (*doomed, worker):
            if process.is_running():
                process.kill()
        worker.wait()


def signs_of_life(database: Database) -> dict[str, HeartbeatRow]:
    with database.read() as session:
        return {row.id: row for row in heartbeats.living_workers(session, heartbeat_s=10)}


def test_a_worker_that_is_asked_to_stop_hands_its_build_to_another_which_resumes_it(
    context: JobContext, ready_models: Callable[[int], list[str]]
) -> None:
    ready_models(2)
    build = order_build(context.database, LONG_FREE)
    JobQueue(make_celery(context.settings)).send(build.job_id, "build")

    def told(words: str) -> bool:
        with context.database.read() as session:
            events = jobs.events_after(session, build.job_id, 0, limit=999)
        return any(words in event.payload.get("message", "") for event in events)

    def saved() -> bool:
        return bool(list(context.store.keys(f"builds/{build.id}")))

    with ExitStack() as workers:
        first = workers.enter_context(celery_worker(context.settings, "first@here"))
        wait_until(saved, "a saved state")
        wait_until(
            lambda: signs_of_life(context.database)["first@here"].device == "cpu", "the device"
        )
        held = build_now(context.database, build.id).job.holder
        first.send_signal(signal.SIGTERM)
        first.wait(PATIENCE_S)
        job = build_now(context.database, build.id).job
        assert (job.status, job.holder, job.attempt) == (JobStatus.QUEUED, None, 0)
        assert (job.not_before is None) or job.not_before <= job.sent_at
        assert "first@here" not in signs_of_life(context.database)

        workers.enter_context(celery_worker(context.settings, "second@here"))
        wait_until(lambda: told("from the last saved state"), "the build to be resumed")
        assert build_now(context.database, build.id).job.holder not in (None, held)
        row = signs_of_life(context.database)["second@here"]
        assert row.queues == ["gpu"]


@pytest.mark.parametrize(("wanted", "ok"), [("cpu", True), ("cuda:99", False)])
def test_a_worker_says_whether_the_wanted_device_is_there(wanted: str, ok: bool) -> None:
    found = describe(wanted)
    assert found["ok"] is ok
    assert str(found["device"]).startswith(wanted)
