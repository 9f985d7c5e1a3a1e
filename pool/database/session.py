"""Engines and transactions on SQLite and PostgreSQL; jobs' messages leave after the commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from pool.database.audit import append_recorded

BUSY_TIMEOUT_MS = 30_000

Send = Callable[[str, str], None]
"""(job id, kind) -> the message is on its way; must not raise when the broker is away."""


def nowhere(job_id: str, kind: str) -> None:
    """Send no message: the sweep will find the job."""
    del job_id, kind


class Database:
    """One engine; `read` and `write` are the only ways to a session."""

    def __init__(self, url: str, *, send: Send = nowhere) -> None:
        self.engine = create_engine_for(url)
        self._reading = self.engine.execution_options(modelpool_begin="BEGIN")
        self._send = send

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that changes nothing; on SQLite it never waits for a writer."""
        with Session(self._reading, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits on leaving, then sends the messages of its new jobs."""
        with Session(self.engine, expire_on_commit=False) as session:
            with session.begin():
                yield session
                append_recorded(session)
            for act in session.info.pop("acts", []):
                act()
            for job_id, kind in session.info.pop("jobs", []):
                self._send(job_id, kind)

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def send_after_commit(session: Session, job_id: str, kind: str) -> None:
    """Send the job's message when, and only if, the session commits."""
    session.info.setdefault("jobs", []).append((job_id, kind))


def do_after_commit(session: Session, act: Callable[[], None]) -> None:
    """Do what must not be undone when, and only if, the session commits; it must not raise."""
    session.info.setdefault("acts", []).append(act)


def create_engine_for(url: str) -> Engine:
    """An engine; on SQLite its connections use WAL, wait for each other, take the write lock first.

    pysqlite would begin late and upgrade a read lock to a write lock in mid-transaction, which
    fails at once under contention instead of waiting; `BEGIN IMMEDIATE` waits.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql(options.get("modelpool_begin", "BEGIN IMMEDIATE"))
