"""The schema goes up and down on both databases, and is the one that the code expects."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, inspect, select

from pool.database.session import Database, create_engine_for
from pool.database.tables import Base, OrganisationRow
from pool.setup import alembic_config, migrate


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'modelpool.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """To look into it from outside."""
    made = create_engine_for(empty_url)
    yield made
    made.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def test_the_schema_goes_up_down_and_up_again(empty_url: str, engine: Engine) -> None:
    wanted = set(Base.metadata.tables) | {"alembic_version"}
    migrate(empty_url)
    assert tables(engine) == wanted
    command.downgrade(alembic_config(empty_url), "base")
    assert tables(engine) == {"alembic_version"}
    migrate(empty_url)
    assert tables(engine) == wanted


def test_the_migrated_schema_is_what_the_tables_say(empty_url: str) -> None:
    migrate(empty_url)
    command.check(alembic_config(empty_url))  # raises on any difference


def test_migrating_twice_changes_nothing(empty_url: str, engine: Engine) -> None:
    migrate(empty_url)
    with engine.begin() as connection:
        connection.execute(OrganisationRow.__table__.insert().values(id="org_1", name="kept"))
    migrate(empty_url)
    with engine.connect() as connection:
        assert connection.execute(select(OrganisationRow.id)).scalars().all() == ["org_1"]


def test_one_model_of_the_same_bytes_is_alive_by_a_partial_index(
    empty_url: str, engine: Engine
) -> None:
    migrate(empty_url)
    found = {index["name"]: index for index in inspect(engine).get_indexes("models")}
    index = found["uq_models_live_bytes"]
    assert (index["unique"], index["column_names"]) == (1, ["pool_id", "sha256"])
    where = " ".join(str(value) for value in index["dialect_options"].values())
    assert "received" in where
    assert "withdrawn" not in where


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-11))),
    ],
)
def test_a_moment_comes_back_as_the_same_moment_in_utc(
    database: Database, moment: datetime
) -> None:
    with database.write() as session:
        session.add(OrganisationRow(id="org_x", name="x", created_at=moment))
    with database.read() as session:
        read = session.get_one(OrganisationRow, "org_x").created_at
    assert read == moment
    assert read.utcoffset() == timedelta(0)


def test_moments_are_compared_as_moments_whatever_their_zone(database: Database) -> None:
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    an_hour_before = (noon - timedelta(hours=1)).astimezone(timezone(timedelta(hours=9)))
    with database.write() as session:
        session.add(OrganisationRow(id="org_x", name="x", created_at=noon))
    with database.read() as session:
        query = select(OrganisationRow.id).where(
            OrganisationRow.created_at > an_hour_before, OrganisationRow.created_at <= noon
        )
        assert session.scalars(query).all() == ["org_x"]
