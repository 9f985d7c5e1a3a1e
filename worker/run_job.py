"""One job process: `python -m worker.run_job JOB_ID HOLDER`.

Claims the job, keeps its lease alive, does the work, records the outcome. Whatever it still holds
when it dies, its supervisor or the sweep gives back.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from sqlalchemy.exc import SQLAlchemyError

from pool import logs
from pool.database import jobs
from pool.database.session import Database
from pool.domain import JobKind, JobRun, JobStatus
from pool.errors import LeaseLost, PoolError
from pool.queue import JobQueue, make_celery
from pool.settings import Settings
from pool.storage.store import open_store
from pool.usecases.assemble import reopen_upload
from pool.usecases.sweep import abandon_job
from worker.context import Canceled, JobContext, TryAgain
from worker.jobs import assemble, build, inspect
from worker.outages import outage_of

log = logging.getLogger(__name__)

LOOK_AT_PARENT_EVERY_S = 1.0
LEASE_RENEWALS = 5  # per lease, so that four may fail
MOST_INSPECTIONS = 200  # in one process; then a fresh one takes over
ORPHANED, GAVE_UP = 3, 4

Handler = Callable[[JobContext, JobRun], None]
HANDLERS: Mapping[JobKind, Handler] = {
    JobKind.ASSEMBLE: assemble.assemble_upload,
    JobKind.INSPECT: inspect.inspect_model,
    JobKind.BUILD: build.build_meta_learner,
}


def main() -> int:
    """Run the job named on the command line; the process's exit code."""
    job_id, holder = sys.argv[1:]
    settings = Settings()
    logs.configure(settings)
    database = Database(settings.database, send=JobQueue(make_celery(settings)).send)
    context = JobContext(settings=settings, database=database, store=open_store(settings))
    signal.signal(signal.SIGTERM, lambda *_: context.stop.set())
    with _alive(database, holder, lease_s=settings.lease_s):
        done = 0
        next_id: str | None = job_id
        while next_id is not None and not context.stop.is_set():
            run = _claim(context, next_id, holder)
            if run is not None and not _logged_run(context, run):
                return GAVE_UP
            done += 1
            next_id = _next_inspection(context, run, done)
    return 0


def guarded_main() -> int:
    """`main`, whose failures are logged by type and place: a traceback may quote a client."""
    try:
        return main()
    except Exception as error:  # noqa: BLE001  # the process's last line of defence
        log.error("a job's process failed", extra=logs.failure(error))
        return GAVE_UP


def _claim(context: JobContext, job_id: str, holder: str) -> JobRun | None:
    with context.database.write() as session:
        return jobs.claim(session, job_id, holder=holder, lease_s=context.settings.lease_s)


def _next_inspection(context: JobContext, run: JobRun | None, done: int) -> str | None:
    """A further checkpoint that waits: one process inspects many, since starting one costs more."""
    if run is None or run.kind is JobKind.BUILD or done >= MOST_INSPECTIONS:
        return None
    with context.database.read() as session:
        return jobs.next_queued(session, JobKind.INSPECT)


def _logged_run(context: JobContext, run: JobRun) -> bool:
    """Do one job with its ids on every line that is logged meanwhile."""
    started = time.perf_counter()
    with logs.bound(job_id=run.job_id, subject_id=run.subject_id, holder=run.holder):
        log.info("job begins", extra={"kind": run.kind, "attempt": run.attempt})
        over = _run(context, run)
        took_ms = round((time.perf_counter() - started) * 1000, 1)
        extra = {"kind": run.kind, "outcome": "over" if over else "left", "duration_ms": took_ms}
        log.info("job ends", extra=extra)
    return over


def _run(context: JobContext, run: JobRun) -> bool:
    """Do one job; False when it is left to a new attempt."""
    try:
        return _worked(context, run)
    except LeaseLost:
        log.warning("the job is held by another run by now; stopping")
        return True


def _worked(context: JobContext, run: JobRun) -> bool:
    try:
        HANDLERS[run.kind](context, run)
    except LeaseLost:
        raise
    except Canceled:
        return _canceled(context, run)
    except (TryAgain, PoolError, SQLAlchemyError, OSError) as error:
        # Store, database or disk failed: nobody's fault here, worth another attempt.
        log.warning("the job needs another attempt", extra=logs.failure(error))
        _give_back(context, run, error)
        return False
    except Exception as error:  # noqa: BLE001  # a defect of ours
        _failed(context, run, error)
    return True


def _give_back(context: JobContext, run: JobRun, error: Exception) -> None:
    """Queue the job again and say why; without a database the supervisor or the sweep will."""
    outage = outage_of(error)
    with suppress(SQLAlchemyError), context.database.write() as session:
        for job in jobs.held_by(session, run.holder):
            abandon_job(
                session,
                job,
                max_attempts=context.settings.max_attempts,
                why=outage or f"The attempt failed ({type(error).__name__})",
                code="attempts-failed",
                outage=outage is not None,
            )


def _canceled(context: JobContext, run: JobRun) -> bool:
    """Whether the stop was a cancellation; any other (shutdown) is left to a new attempt."""
    with context.database.read() as session:
        return jobs.is_canceled(session, run.job_id)


def _failed(context: JobContext, run: JobRun, error: Exception) -> None:
    """Record a defect. Its message stays out of the log: it may quote what a client sent."""
    log.error("unexpected %s", type(error).__name__, extra=logs.failure(error))
    why = f"The job broke down ({type(error).__name__}); the operator's log has the place."
    with context.database.write() as session:
        if run.kind is JobKind.ASSEMBLE:
            reopen_upload(session, run.subject_id, why)
        if run.kind is JobKind.INSPECT:
            inspect.give_up(session, run.subject_id, why)
        jobs.finish(session, run, JobStatus.FAILED, error_code="internal-error", error=why)


@contextmanager
def _alive(database: Database, holder: str, *, lease_s: float) -> Iterator[None]:
    """Renew the lease while the job runs, and end this process when its supervisor is gone."""
    done = threading.Event()
    parent = os.getppid()

    def keep_alive() -> None:
        renewed_at = time.monotonic()
        while not done.wait(min(LOOK_AT_PARENT_EVERY_S, lease_s / LEASE_RENEWALS)):
            if os.getppid() != parent:
                os._exit(ORPHANED)
            if time.monotonic() - renewed_at < lease_s / LEASE_RENEWALS:
                continue
            try:
                with database.write() as session:
                    jobs.renew(session, holder, lease_s=lease_s)
                renewed_at = time.monotonic()
            except SQLAlchemyError as error:
                said = {"holder": holder, "cause": type(error).__name__}
                log.warning("cannot renew the lease", extra=said)

    thread = threading.Thread(target=keep_alive, name="keep-alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(guarded_main())
