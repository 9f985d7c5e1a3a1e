"""Run one job in a child process: start it, watch it, stop it when asked, pick up after it."""

import logging
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import JobRow
from pool.domain import FINAL_JOBS, JobStatus, new_id, utc_now
from pool.settings import Settings
from pool.usecases.sweep import abandon_job
from worker.work_files import clear_work_files

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
JOB_COMMAND = (sys.executable, "-m", "worker.run_job")
STOPPING = mmap.mmap(-1, 1)
"""One byte that Celery's main process shares with those it forks: 1 once it was asked to stop."""
LOOK_EVERY_S = 0.1
ASK_EVERY_S = 0.5
"""With the grace of 4 s that a canceled job's process has, within 5 s."""
SILENCE = 0.5
"""Of a lease: how long a run may be silent after its end, in which it could renew it twice."""


def stop_soon() -> None:
    """Let every job of this worker go back to the queue; safe in a signal handler."""
    STOPPING[0] = 1


def stopping() -> bool:
    """Whether this worker was asked to stop."""
    return STOPPING[0] == 1


def supervise(settings: Settings, database: Database, job_id: str) -> None:
    """Run a queued job to its end, whatever that end is; return at once if it is not queued.

    The child claims the job under the name given here, so that this process can see what the
    child held when it died, and give it back.
    """
    if not _is_queued(database, job_id):
        return
    holder = new_id("run")
    child = subprocess.Popen(  # noqa: S603  # our own module, with ids we made
        [*JOB_COMMAND, job_id, holder],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _watch(child, settings, database, job_id, holder)
    finally:
        _stop(child, grace_s=settings.cancel_grace_s)
        _give_back(settings, database, holder, exit_code=child.returncode)
        clear_work_files(settings, database)


def _is_queued(database: Database, job_id: str) -> bool:
    with database.read() as session:
        status = session.scalar(select(JobRow.status).where(JobRow.id == job_id))
    if status is None:
        # Seen with two deployments on one Redis database: each took half of the other's messages.
        log.warning(
            "took a message for a job that this database does not have; does another deployment "
            "use this broker? Give each its own (OPERATIONS.md, Scaling out)",
            extra={"job_id": job_id},
        )
    return status == JobStatus.QUEUED


def _watch(
    child: subprocess.Popen[bytes], settings: Settings, database: Database, job_id: str, holder: str
) -> None:
    """Wait for the child's end, its job's cancellation, or the worker's end or death.

    Celery's main process may be killed without this one: nobody would stop the job then. Asked to
    stop, it would wait for the job, for hours perhaps; another worker takes it over instead. And a
    child that hangs so that it cannot renew its lease would keep this worker from all other jobs.
    """
    asked_at = time.monotonic()
    lease = LeaseWatch(holder, silence_s=settings.lease_s * SILENCE)
    worker = os.getppid()
    while child.poll() is None and os.getppid() == worker and not stopping():
        time.sleep(LOOK_EVERY_S)
        if time.monotonic() - asked_at < ASK_EVERY_S:
            continue
        asked_at = time.monotonic()
        try:
            with database.read() as session:
                canceled = jobs.is_canceled(session, job_id)
                hangs = lease.is_over(session)
        except SQLAlchemyError as error:
            # A database that is away for a moment must not end a build of hours.
            said = {"holder": holder, "cause": type(error).__name__}
            log.warning("cannot look after the job", extra=said)
            continue
        if canceled or hangs:
            said = {"holder": holder}
            log.info("stopping a job that %s", "is canceled" if canceled else "hangs", extra=said)
            _stop(child, grace_s=settings.cancel_grace_s)


class LeaseWatch:
    """Whether a run has let its lease run out and stayed silent: it hangs."""

    def __init__(self, holder: str, *, silence_s: float) -> None:
        self._holder = holder
        self._silence_s = silence_s
        self._last: JobRow | None = None
        self._out_since: float | None = None

    def is_over(self, session: Session) -> bool:
        """Look at the lease; True once it has been out for too long."""
        held = jobs.held_by(session, self._holder)
        if held:
            self._last = held[0]
        elif self._last is not None and self._was_finished(session, self._last.id):
            self._last = None
        lease_until = self._last.lease_until if self._last else None
        if lease_until is None or lease_until > utc_now():
            self._out_since = None
            return False
        self._out_since = self._out_since or time.monotonic()
        return time.monotonic() - self._out_since > self._silence_s

    def _was_finished(self, session: Session, job_id: str) -> bool:
        """Else the sweep took it away: its lease had run out."""
        return session.get_one(JobRow, job_id).status in FINAL_JOBS


def _stop(child: subprocess.Popen[bytes], *, grace_s: float) -> None:
    """Ask, wait, kill."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(timeout=grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _give_back(
    settings: Settings, database: Database, holder: str, *, exit_code: int | None
) -> None:
    """Decide about jobs that the child still held when it ended; normally there are none."""
    with database.write() as session:
        for job in jobs.held_by(session, holder):
            said = {"job_id": job.id, "holder": holder, "exit_code": exit_code}
            log.warning("a job's process ended before the job", extra=said)
            abandon_job(
                session,
                job,
                max_attempts=settings.max_attempts,
                why="The worker was stopped" if stopping() else "The job's process died",
                blameless=stopping(),
            )
