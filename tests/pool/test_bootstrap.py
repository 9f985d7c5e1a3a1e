"""The first organisation, pool and admin key are made once, however often and by however many."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from pool import setup
from pool.database.session import Database
from pool.database.tables import ApiKeyRow, Base, OrganisationRow, PoolRow
from pool.domain import Scope
from pool.errors import InvalidInput
from pool.usecases.bootstrap import bootstrap
from pool.usecases.keys import authenticate

GIVEN = "mp_given-by-the-operator-0123456789"


@pytest.fixture
def empty(database: Database) -> Iterator[Database]:
    """A migrated database that nobody bootstrapped."""
    with database.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
    return database


def counts(database: Database) -> list[int]:
    with database.read() as session:
        return [
            session.scalar(select(func.count()).select_from(table)) or 0
            for table in (OrganisationRow, PoolRow, ApiKeyRow)
        ]


def test_twice_makes_one_and_shows_its_key_once(empty: Database) -> None:
    key = bootstrap(empty, None)
    assert key is not None
    assert bootstrap(empty, None) is None
    assert counts(empty) == [1, 1, 1]
    with empty.read() as session:
        assert authenticate(session, key).scopes == set(Scope)


@pytest.mark.parametrize("given", [None, GIVEN])
def test_replicas_starting_at_once_make_one(empty: Database, given: str | None) -> None:
    n_replicas = 4
    start = threading.Barrier(n_replicas)

    def replica(_number: int) -> str | None:
        start.wait()
        return bootstrap(empty, given)

    with ThreadPoolExecutor(n_replicas) as threads:
        shown = [key for key in threads.map(replica, range(n_replicas)) if key is not None]
    assert counts(empty) == [1, 1, 1]
    assert len(shown) == (1 if given is None else 0)


def test_a_given_key_is_an_admins_and_is_never_shown(empty: Database) -> None:
    assert bootstrap(empty, GIVEN) is None
    assert bootstrap(empty, GIVEN) is None
    assert counts(empty) == [1, 1, 1]
    with empty.read() as session:
        assert authenticate(session, GIVEN).scopes == set(Scope)


def test_a_key_given_later_joins_the_first(empty: Database) -> None:
    first = bootstrap(empty, None)
    bootstrap(empty, GIVEN)
    assert first is not None
    with empty.read() as session:
        assert authenticate(session, first).organisation_id == (
            authenticate(session, GIVEN).organisation_id
        )
    assert counts(empty) == [1, 1, 2]


def test_a_given_key_that_is_no_secret_leaves_nothing_behind(empty: Database) -> None:
    with pytest.raises(InvalidInput):
        bootstrap(empty, "admin")
    assert counts(empty) == [0, 0, 0]


def test_setup_prints_the_key_the_first_time_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELPOOL_VAR", str(tmp_path / "var"))
    setup.main()
    printed = capsys.readouterr().out
    setup.main()
    again = capsys.readouterr().out
    (key,) = (word for word in printed.split() if word.startswith("mp_"))
    assert "mp_" not in again
    database = Database(f"sqlite:///{tmp_path}/var/modelpool.db")
    with database.read() as session:
        authenticate(session, key)
    database.dispose()


def test_setup_does_not_print_a_key_that_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELPOOL_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("MODELPOOL_BOOTSTRAP_KEY", GIVEN)
    setup.main()
    captured = capsys.readouterr()
    assert "mp_" not in captured.out + captured.err
