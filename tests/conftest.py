"""Fixtures that more than one package's tests use: deployments, databases, the real pool."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool.database.session import Database
from pool.settings import Settings
from pool.setup import migrate
from pool.usecases.bootstrap import bootstrap
from tests.factories import postgres_database
from tests.s3_server import s3_server

ROOT = Path(__file__).resolve().parent.parent
ADMIN_KEY = "mp_test-admin-key-0123456789"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own MODELPOOL_* variables must not steer the tests."""
    for name in list(os.environ):
        if name.startswith("MODELPOOL_") and not name.startswith("MODELPOOL_TEST"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real checkpoints and images, where the machine has them."""
    path = Path(os.environ.get("MODELPOOL_SHARED", ROOT.parent / "shared"))
    if not (path / "pools").is_dir():
        pytest.skip("no shared pools here; set MODELPOOL_SHARED to where they are")
    return path


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a real S3 server."""
    with s3_server(tmp_path_factory.mktemp("buckets")) as endpoint:
        yield endpoint


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An embedded deployment in an empty directory."""
    return Settings(var=tmp_path / "var")


@pytest.fixture
def sqlite_url(settings: Settings) -> str:
    """A migrated, bootstrapped SQLite database."""
    migrate(settings.database)
    return settings.database


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A database of its own on the local PostgreSQL, dropped afterwards."""
    with postgres_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated, bootstrapped database of each kind the server runs on."""
    kind = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(kind)
    migrate(url)
    made = Database(url)
    bootstrap(made, ADMIN_KEY)
    yield made
    made.dispose()


@pytest.fixture
def embedded(sqlite_url: str) -> Iterator[Database]:
    """The embedded deployment's database, with the admin key ADMIN_KEY."""
    made = Database(sqlite_url)
    bootstrap(made, ADMIN_KEY)
    yield made
    made.dispose()
