"""The Celery application: `celery -A worker.main worker`. This process never imports torch."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from celery.exceptions import Reject
from celery.signals import (
    setup_logging,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from sqlalchemy.exc import IntegrityError

from pool import logs
from pool.database import heartbeats
from pool.database.session import Database
from pool.queue import ORPHANS, RUN_JOB, SWEEP, JobQueue, make_celery
from pool.settings import Settings
from pool.storage.parts import open_parts
from pool.storage.store import open_store
from pool.usecases.orphans import delete_orphans
from pool.usecases.sweep import sweep, sweep_leftovers, sweep_limits
from pool.usecases.sweep_uploads import sweep_parts
from worker.heartbeat import Heartbeat
from worker.supervise import stop_soon, stopping, supervise
from worker.work_files import clear_work_files

log = logging.getLogger(__name__)

settings = Settings()
celery = make_celery(settings)


@setup_logging.connect
def configure_logs(**_: object) -> None:
    """Instead of Celery's own way, which would log a failed task's message."""
    logs.configure(settings)


@cache
def database() -> Database:
    """One engine per process, made after the fork."""
    return Database(settings.database, send=JobQueue(celery).send)


@worker_process_init.connect
def forget_parents_engine(**_: object) -> None:
    """A forked process must not share its parent's connections."""
    database.cache_clear()


@worker_ready.connect
def give_signs_of_life(sender: Any, **_: object) -> None:
    """From Celery's main process, while its children run jobs."""
    heartbeat = Heartbeat(settings, sender.hostname, list(celery.amqp.queues.consume_from))
    heartbeat.start()
    worker_shutdown.connect(lambda **_: heartbeat.stop(), weak=False)


@worker_shutting_down.connect
def hand_jobs_back(**_: object) -> None:
    """Asked to stop: jobs go back to the queue, where another worker takes them up."""
    stop_soon()


@celery.task(name=RUN_JOB)
def run_job(job_id: str) -> None:
    """Run one job in a child process; a second delivery of its message does nothing."""
    with _failures_as_places():
        supervise(settings, database(), job_id)
    if stopping():
        # A message taken while the worker stops: another worker's, at once. Twice does no harm.
        raise Reject("the worker stops", requeue=True)


@celery.task(name=SWEEP)
def sweep_jobs() -> None:
    """Pick up what dead workers and lost messages left behind."""
    with _failures_as_places():
        _sweep()


@celery.task(name=ORPHANS)
def delete_orphaned_objects() -> None:
    """Delete what killed processes stored and no record names."""
    with _failures_as_places():
        removed = delete_orphans(database(), open_store(settings))
        if removed:
            log.info("deleted %d objects that no record names", removed)


def _sweep() -> None:
    with database().write() as session:
        found = sweep(
            session,
            resend_after_s=settings.resend_after_s,
            max_attempts=settings.max_attempts,
        )
        forgotten = sweep_limits(session)
    with suppress(IntegrityError), database().write() as session:  # two sweeps may be the first
        heartbeats.beat(session, heartbeats.SWEEP)
    clear_work_files(settings, database())
    removed = sweep_leftovers(database(), open_store(settings), state_kept_s=settings.state_kept_s)
    removed += sweep_parts(database(), open_parts(settings))
    if found.expired or found.resent or removed or forgotten:
        log.info(
            "sweep: %d leases expired, %d messages sent again, %d leftovers deleted, "
            "%d records of limits deleted",
            found.expired,
            found.resent,
            removed,
            forgotten,
        )


@contextmanager
def _failures_as_places() -> Iterator[None]:
    """Log a failure by type and place: Celery would log its message, which may quote a client.

    Nothing is lost: the job's row is as it was, and the sweep finds it.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001  # the task's last line of defence
        log.error("a task of the worker failed", extra=logs.failure(error))
