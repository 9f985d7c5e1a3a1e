"""The Celery application: `celery -A worker.main worker`. This process never imports torch."""

import logging
from functools import cache

from celery.signals import worker_process_init

from pool.database.session import Database
from pool.queue import RUN_JOB, SWEEP, JobQueue, make_celery
from pool.settings import Settings
from pool.storage.store import open_store
from pool.usecases.sweep import sweep, sweep_leftovers
from worker.supervise import supervise

log = logging.getLogger(__name__)

settings = Settings()
celery = make_celery(settings)
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


@cache
def database() -> Database:
    """One engine per process, made after the fork."""
    return Database(settings.database, send=JobQueue(celery).send)


@worker_process_init.connect
def forget_parents_engine(**_: object) -> None:
    """A forked process must not share its parent's connections."""
    database.cache_clear()


@celery.task(name=RUN_JOB)
def run_job(job_id: str) -> None:
    """Run one job in a child process; a second delivery of its message does nothing."""
    supervise(settings, database(), job_id)


@celery.task(name=SWEEP)
def sweep_jobs() -> None:
    """Pick up what dead workers and lost messages left behind."""
    with database().write() as session:
        found = sweep(
            session,
            resend_after_s=settings.resend_after_s,
            max_attempts=settings.max_attempts,
        )
    removed = sweep_leftovers(database(), open_store(settings))
    if found.expired or found.resent or removed:
        log.info(
            "sweep: %d leases expired, %d messages sent again, %d leftovers deleted",
            found.expired,
            found.resent,
            removed,
        )
