"""Database, object store, broker and workers, each asked for real."""

import io
import secrets
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import urllib3
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from pool.database.heartbeats import last_sweep, living_workers
from pool.database.session import Database
from pool.doctor.findings import Finding, failed, ok, warning
from pool.domain import utc_now
from pool.errors import PoolError
from pool.probes import Away, probe_broker, probe_database
from pool.queue import QUEUES, make_celery
from pool.settings import Settings
from pool.storage.store import open_store

OLDEST_POSTGRESQL = 15
SKEW_NOTED_S, S3_SKEW_REFUSED_S = 2.0, 900.0
SWEEPS_MISSED = 6
S3_ADVICE = {
    "RequestTimeTooSkewed": "Set this host's clock (NTP): the store refuses old signatures.",
    "SignatureDoesNotMatch": "Correct MODELPOOL_S3_SECRET_KEY (or MODELPOOL_S3_REGION).",
    "InvalidAccessKeyId": "Correct MODELPOOL_S3_ACCESS_KEY.",
    "AuthorizationHeaderMalformed": "Set MODELPOOL_S3_REGION to the bucket's region.",
    "AccessDenied": "Correct MODELPOOL_S3_ACCESS_KEY and MODELPOOL_S3_SECRET_KEY, and let that key "
    "read, write, delete and list in the bucket.",
}


def check_database(settings: Settings) -> Iterator[Finding]:
    """Whether it answers, has this release's schema, and keeps what it is told."""
    database = Database(settings.database)
    try:
        yield ok("database", probe_database(database))
        if database.engine.dialect.name == "sqlite":
            yield from _sqlite(database)
        else:
            yield from _postgresql(settings, database)
    except Away as error:
        advice = "Check MODELPOOL_DATABASE_URL and the server, then run `make migrate`."
        yield failed("database", str(error), advice)
    except SQLAlchemyError as error:
        yield failed("database", type(error).__name__, "See the database's own log.")
    finally:
        database.dispose()


def _sqlite(database: Database) -> Iterator[Finding]:
    with database.read() as session:
        mode = session.scalar(text("PRAGMA journal_mode"))
    if mode == "wal":
        yield ok("journal", "write-ahead log")
    else:
        advice = "Put MODELPOOL_VAR on a local disk: network file systems have no write-ahead log."
        yield failed("journal", f"mode {mode} instead of a write-ahead log", advice)


def _postgresql(settings: Settings, database: Database) -> Iterator[Finding]:
    with database.read() as session:
        before = utc_now()
        now: datetime = session.scalar(text("SELECT clock_timestamp()")) or before
        took = utc_now() - before
        version = int(session.scalar(text("SHOW server_version_num")) or 0) // 10_000
        isolation = session.scalar(text("SHOW transaction_isolation"))
    if version < OLDEST_POSTGRESQL:
        advice = f"Upgrade it to {OLDEST_POSTGRESQL} or newer."
        yield failed("postgresql", f"version {version}", advice)
    elif isolation != "read committed":
        yield failed(
            "postgresql",
            f"transactions are {isolation} by default; the server counts on read committed",
            "ALTER DATABASE ... SET default_transaction_isolation TO 'read committed'.",
        )
    else:
        yield ok("postgresql", f"version {version}, {isolation}")
    skew_s = abs((now - (before + took / 2)).total_seconds())
    yield _skew("database clock", skew_s, refused_s=settings.lease_s / 3)


def _skew(check: str, skew_s: float, *, refused_s: float) -> Finding:
    detail = f"{skew_s:.1f} s from this host's"
    advice = "Set both clocks by NTP: leases and signatures are compared with them."
    if skew_s >= refused_s:
        return failed(check, detail, advice)
    return warning(check, detail, advice) if skew_s >= SKEW_NOTED_S else ok(check, detail)


def check_store(settings: Settings) -> Iterator[Finding]:
    """Write, read and delete an object, as uploads and jobs do."""
    if settings.storage.startswith("s3:"):
        yield from _s3_clock(settings)
    key, data = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(1024)
    try:
        store = open_store(settings)
        store.put(key, io.BytesIO(data), len(data))
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "object"
            store.fetch(key, path)
            same = path.read_bytes() == data
        store.delete(key)
    except (PoolError, ValueError) as error:
        detail = getattr(error, "message", "MODELPOOL_STORAGE_URL or MODELPOOL_S3_* is no address")
        known = next((text for code, text in S3_ADVICE.items() if code in detail), None)
        yield failed(
            "storage", detail, known or "Check MODELPOOL_STORAGE_URL, MODELPOOL_S3_* and the store."
        )
        return
    if same:
        yield ok("storage", "an object was written, read and deleted")
    else:
        advice = "Do not use this store: it does not give back what it was given."
        yield failed("storage", "an object came back changed", advice)


def _s3_clock(settings: Settings) -> Iterator[Finding]:
    """The store's clock, from the date of whatever it answers."""
    url = f"{'https' if settings.s3_secure else 'http'}://{settings.s3_endpoint}/"
    try:
        answer = urllib3.PoolManager(timeout=5.0, retries=False).request("HEAD", url)
        there = parsedate_to_datetime(answer.headers["date"])
    except (urllib3.exceptions.HTTPError, KeyError, ValueError):
        return  # the store's own check says what is wrong
    skew_s = abs(time.time() - there.astimezone(UTC).timestamp())
    yield _skew("store clock", skew_s, refused_s=S3_SKEW_REFUSED_S)


def check_broker(settings: Settings) -> Iterator[Finding]:
    """Whether job messages can be sent."""
    try:
        yield ok("broker", probe_broker(settings, make_celery(settings)))
    except Away as error:
        advice = "Check MODELPOOL_BROKER_URL and the broker; jobs wait until it is back."
        yield failed("broker", str(error), advice)


def check_workers(settings: Settings) -> Iterator[Finding]:
    """Who works, on what, and whether the sweep runs."""
    database = Database(settings.database)
    try:
        with database.read() as session:
            living = living_workers(session, heartbeat_s=settings.heartbeat_s)
            swept_at = last_sweep(session)
    except SQLAlchemyError:
        return  # the database's own check says what is wrong
    finally:
        database.dispose()
    for queue in dict.fromkeys(QUEUES.values()):
        count = sum(queue in worker.queues for worker in living)
        if count:
            yield ok("workers", f"{count} of queue {queue}")
        else:
            advice = f"Start one: celery -A worker.main worker -Q {queue} -c 1"
            yield warning("workers", f"none of queue {queue} is alive", advice)
    for worker in living:
        if not worker.device_ok:
            advice = "Correct MODELPOOL_DEVICE there, or its driver."
            yield failed("device", f"{worker.id} cannot compute on {worker.device}", advice)
        elif worker.device:
            yield ok("device", f"{worker.id} computes on {worker.device}")
    late_s = SWEEPS_MISSED * settings.sweep_every_s
    if swept_at is None or (utc_now() - swept_at).total_seconds() > late_s:
        advice = "Start exactly one: celery -A worker.main beat"
        yield warning("sweep", "abandoned jobs have not been looked for lately", advice)
    else:
        yield ok("sweep", "runs")
