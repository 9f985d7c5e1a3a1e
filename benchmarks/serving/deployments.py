"""Real servers for a measurement: a database of their own, `python -m app.main`, an admin key."""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.machine import ROOT
from benchmarks.upload_memory import run, wait_until_it_answers

POSTGRES = "postgresql+psycopg:///postgres"
UNLIMITED = {
    f"MODELPOOL_{name}_PER_MINUTE": "0"
    for name in ("REQUESTS", "PREDICTIONS", "ANONYMOUS", "FAILED_KEYS")
} | {"MODELPOOL_QUOTA_BUILDS": "1000000", "MODELPOOL_QUOTA_PREDICTIONS": "1000000000"}
"""Rate limits off: they would be what is measured."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Set up; not served yet."""

    database_url: str
    key: str
    environment: Mapping[str, str]

    @property
    def headers(self) -> dict[str, str]:
        """Of an admin's requests."""
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def new_database(kind: str, place: Path, postgres: str) -> Iterator[str]:
    """The URL of an empty database: a file in the directory, or one of PostgreSQL's, dropped after.

    Args:
        kind: "sqlite" or "postgresql".
        place: where the file goes.
        postgres: SQLAlchemy's URL of a PostgreSQL server whose user may create databases.
    """
    if kind == "sqlite":
        yield f"sqlite:///{place / 'modelpool.db'}"
        return
    # Imported late: a machine that runs other benchmarks has no database driver.
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    name = f"modelpool_bench_{secrets.token_hex(6)}"
    server = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield make_url(postgres).set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        server.dispose()


@contextmanager
def deployment(kind: str, place: Path, postgres: str) -> Iterator[Deployment]:
    """A deployment that is set up, in a directory of its own."""
    place.mkdir(parents=True, exist_ok=True)
    key = f"mp_{secrets.token_urlsafe(24)}"
    with new_database(kind, place, postgres) as url:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MODELP")},
            **UNLIMITED,
            "MODELPOOL_VAR": str(place / "var"),
            "MODELPOOL_DATABASE_URL": url,
            "MODELPOOL_BOOTSTRAP_KEY": key,
            "MODELPOOL_LOG_FORMAT": "json",
            "OMP_NUM_THREADS": "1",
        }
        run(["-m", "pool.setup"], environment)
        yield Deployment(url, key, environment)


@contextmanager
def served(
    program: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[tuple[str, psutil.Process]]:
    """A server on a free port, which MODELPOOL_PORT tells it: its URL and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("w") as stream:
        process = psutil.Popen(
            [sys.executable, *program],
            cwd=ROOT,
            env={**environment, "MODELPOOL_PORT": str(port)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_it_answers(url)
            yield url, process
        finally:
            process.terminate()
            process.wait()
