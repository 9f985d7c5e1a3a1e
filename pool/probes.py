"""Ask each dependency whether it is there: for readiness, and for the doctor.

A probe returns a few words, or raises Away with a few; neither names a host or quotes a secret.
"""

import os
from functools import cache

from alembic.script import ScriptDirectory
from celery import Celery
from kombu.exceptions import KombuError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from pool.database.heartbeats import living_workers
from pool.database.session import Database
from pool.errors import PoolError
from pool.queue import QUEUES
from pool.settings import Settings
from pool.setup import alembic_config
from pool.storage.store import ObjectStore


class Away(Exception):
    """The dependency does not do what is needed of it."""


@cache
def known_revisions() -> tuple[str, ...]:
    """The schema's revisions that this release knows, the newest first."""
    scripts = ScriptDirectory.from_config(alembic_config(""))
    return tuple(script.revision for script in scripts.walk_revisions())


def probe_database(database: Database) -> str:
    """Whether it answers and its schema is not older than this release.

    A newer schema is fine: an upgrade migrates first, while the processes before it still run.
    """
    try:
        with database.read() as session:
            found = session.scalar(text("SELECT version_num FROM alembic_version"))
    except SQLAlchemyError as error:
        raise Away(f"no answer, or no schema ({type(error).__name__})") from error
    known = known_revisions()
    if found == known[0]:
        return f"schema {found}"
    if found in known or found is None:
        raise Away(f"schema {found} is older than this release's {known[0]}: run `make migrate`")
    return f"schema {found} is newer than this release's {known[0]}"


def probe_store(store: ObjectStore) -> str:
    """Whether the object store answers."""
    try:
        store.ping()
    except PoolError as error:
        raise Away(error.message) from error
    return "answers"


def probe_broker(settings: Settings, celery: Celery) -> str:
    """Whether job messages can be sent."""
    if settings.broker.startswith("filesystem:"):
        directory = settings.var_dir / "messages"
        if not (directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)):
            raise Away("the directory of messages cannot be written")
        return "messages are files"
    try:
        with celery.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)
    except (KombuError, OSError) as error:
        raise Away(f"no answer ({type(error).__name__})") from error
    return "answers"


def probe_workers(settings: Settings, database: Database) -> str:
    """Whether each queue has a worker that gave a sign of life lately."""
    try:
        with database.read() as session:
            living = living_workers(session, heartbeat_s=settings.heartbeat_s)
    except SQLAlchemyError as error:
        raise Away(f"unknown ({type(error).__name__})") from error
    counts = {
        queue: sum(queue in worker.queues for worker in living)
        for queue in dict.fromkeys(QUEUES.values())
    }
    said = ", ".join(f"{count} of queue {queue}" for queue, count in counts.items())
    if not all(counts.values()):
        raise Away(said)
    return said
