"""Every migration, with rows in every table: nothing is lost on the way up or down."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from pool.database.session import Database, create_engine_for
from pool.setup import TableInUse, alembic_config, migrate
from pool.usecases.names import fold_left_names

REVISIONS = [
    script.revision
    for script in ScriptDirectory.from_config(alembic_config("sqlite://")).walk_revisions()
][::-1]
ROWS = 2
INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX \S+ ON (\S+)")
SQUAWK = str(Path(sys.executable).with_name("squawk"))
EXCLUDED = [
    f"--exclude={rule}"
    for rule in (
        "prefer-text-field",  # lengths bound what clients send
        "prefer-bigint-over-int",
        "prefer-identity",
        "prefer-robust-stmts",  # every revision is one transaction
        "require-lock-timeout",  # set on the connection
        "require-statement-timeout",  # an index of a large table takes its time
    )
]
KEYS = "SELECT id, name_key FROM models"
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'modelpool.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """To look into it from outside."""
    made = create_engine_for(url)
    yield made
    made.dispose()


def reflected(connection: sa.Connection) -> list[sa.Table]:
    """The tables as they are now, those first that others refer to."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def made_up(column: sa.Column[Any], number: int) -> Any:
    """A value for the column of row `number`."""
    for key in column.foreign_keys:  # refer to the row of the same number
        return made_up(key.column, number)
    kind = column.type
    if isinstance(kind, sa.JSON):
        return [f"{column.name} {number}"]
    if isinstance(kind, sa.Boolean):
        return bool(number % 2)
    if isinstance(kind, sa.Integer | sa.Float | sa.Numeric):
        return number
    if isinstance(kind, sa.LargeBinary):
        return f"{column.name} {number}".encode()
    if isinstance(kind, sa.DateTime):
        return datetime(2026, 1, 1 + number, tzinfo=UTC)
    if isinstance(kind, sa.Date):
        return date(2026, 1, 1 + number)
    return f"{column.table.name} {column.name} {number}"[-(getattr(kind, "length", None) or 99) :]


def fill(engine: sa.Engine) -> None:
    """Put rows into every table that has none."""
    with engine.begin() as connection:
        for table in reflected(connection):
            if connection.scalar(sa.select(sa.func.count()).select_from(table)):
                continue
            for number in range(1, ROWS + 1):
                row = {column.name: made_up(column, number) for column in table.columns}
                connection.execute(table.insert().values(row))


def contents(engine: sa.Engine) -> Rows:
    """All rows by table."""
    with engine.connect() as connection:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(
                    sa.select(table).order_by(*table.primary_key.columns)
                ).mappings()
            ]
            for table in reflected(connection)
        }


def assert_kept(before: Rows, after: Rows) -> None:
    """What was there is there, in the columns that are still there."""
    for name in before.keys() & after.keys():
        shared = before[name][0].keys() & after[name][0].keys()
        for row in before[name]:
            kept = {column: row[column] for column in shared}
            assert any(kept.items() <= found.items() for found in after[name]), (name, kept)


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_rows_of_every_released_schema_survive_the_way_up_and_down_again(
    url: str, engine: sa.Engine, revision: str
) -> None:
    migrate(url, revision)
    fill(engine)
    before = contents(engine)
    assert all(before.values())
    migrate(url)
    assert_kept(before, contents(engine))
    fill(engine)
    command.downgrade(alembic_config(url), revision)
    after = contents(engine)
    assert after.keys() == before.keys()
    assert_kept(before, after)


def test_names_are_folded_on_the_way_up_and_those_of_an_older_release_at_the_next_setup(
    url: str, engine: sa.Engine
) -> None:
    migrate(url, "0007")
    fill(engine)
    with engine.begin() as connection:
        models = sa.Table("models", sa.MetaData(), autoload_with=connection)
        connection.execute(models.update().values(name="Straße " + models.c.id))
        old = [dict(row) for row in connection.execute(sa.select(models)).mappings()]
    migrate(url)

    def keys() -> dict[str, str]:
        with engine.connect() as connection:
            return {row.id: row.name_key for row in connection.execute(sa.text(KEYS))}

    folded = {row["id"]: f"strasse {row['id']}" for row in old}
    assert keys() == folded
    with engine.begin() as connection:  # as an older release does that runs beside the new schema
        connection.execute(models.insert().values(old[0] | {"id": "mdl_late", "sha256": "0" * 64}))
    assert keys() == folded | {"mdl_late": ""}
    database = Database(url)
    assert [fold_left_names(database), fold_left_names(database)] == [1, 0]
    database.dispose()
    assert keys() == folded | {"mdl_late": f"strasse {old[0]['id']}"}


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What any engine is asked meanwhile."""
    heard: list[str] = []

    def hear(_: object, __: object, statement: str, *___: object) -> None:
        heard.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    yield heard
    sa.event.remove(sa.Engine, "before_cursor_execute", hear)


def test_no_migration_locks_a_table_of_postgresql_for_long(
    postgres_url: str, statements: list[str], tmp_path: Path
) -> None:
    migrate(postgres_url, REVISIONS[0])
    del statements[:]
    migrate(postgres_url)
    script = tmp_path / "migrations.sql"
    changes = [each.strip() for each in statements if not each.lstrip().startswith("SELECT")]
    new = {each.split()[2] for each in changes if each.startswith("CREATE TABLE")}
    changes = [  # nobody waits for an index of a table that the same transaction makes
        each for each in changes if not (INDEX.match(each) and INDEX.match(each)[1] in new)
    ]
    script.write_text(";\n".join(changes) + ";\n")
    judged = subprocess.run(
        [SQUAWK, "--pg-version", "15.0", "--reporter", "Json", *EXCLUDED, str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = {(each["rule_name"], each["line"]) for each in json.loads(judged.stdout)}
    assert complaints == set()
    assert any("CREATE INDEX CONCURRENTLY" in each for each in changes)


def test_an_index_that_an_interrupted_migration_left_invalid_is_made_anew(
    postgres_url: str,
) -> None:
    migrate(postgres_url, "0002")
    engine = create_engine_for(postgres_url)
    name = "ix_jobs_finished_at"
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE INDEX {name} ON jobs (finished_at)")
            connection.exec_driver_sql(
                f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass"
            )
        migrate(postgres_url)
        with engine.connect() as connection:
            valid = connection.exec_driver_sql(
                f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{name}'::regclass"
            )
            assert valid.scalar() is True
    finally:
        engine.dispose()


def test_a_migration_gives_way_to_who_holds_a_table_and_says_so(
    postgres_url: str,
) -> None:
    migrate(postgres_url, REVISIONS[0])
    engine = create_engine_for(postgres_url)
    with engine.connect() as connection:
        connection.exec_driver_sql("LOCK TABLE organisations IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TableInUse, match="nothing is lost"):
            migrate(postgres_url, lock_timeout_ms=100)
    engine.dispose()
    migrate(postgres_url)
