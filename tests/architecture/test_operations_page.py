"""docs/OPERATIONS.md: its commands do what it says, its metrics are the server's."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.engine import make_url
from starlette.testclient import TestClient

from app.main import create_app
from pool.database.session import Database
from pool.database.tables import ModelRow, PoolRow
from pool.settings import Settings
from pool.setup import migrate
from pool.storage.store import model_key, open_store
from pool.usecases.bootstrap import bootstrap
from tests.factories import model_row

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "OPERATIONS.md").read_text()
BLOCKS = dict(re.findall(r"<!-- runs: ([\w-]+) -->\n```bash\n(.*?)```", PAGE, re.DOTALL))
DATA = b"canonical weights"


def run_block(name: str, **environment: str) -> None:
    beside_python = str(Path(sys.executable).parent)
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", BLOCKS[name]],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{beside_python}:{os.environ['PATH']}"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def add_model(database: Database) -> str:
    with database.write() as session:
        row = model_row(session.scalars(select(PoolRow)).one())
        session.add(row)
    return row.id


def models_of(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(ModelRow.id)))


def test_an_embedded_deployment_is_backed_up_while_it_runs_and_restored(
    embedded: Database, settings: Settings, tmp_path: Path
) -> None:
    where = {"MODELPOOL_VAR": str(settings.var_dir), "BACKUP": str(tmp_path / "backup")}
    kept = add_model(embedded)
    open_store(settings).put(model_key(kept), io.BytesIO(DATA), len(DATA))
    with embedded.write():  # somebody writes meanwhile, and nothing of it is in the copy
        run_block("backup-embedded", **where)
    add_model(embedded)
    embedded.dispose()
    shutil.rmtree(settings.var_dir)

    run_block("restore-embedded", **where)
    restored = Database(settings.database)
    assert models_of(restored) == {kept}
    restored.dispose()
    open_store(settings).fetch(model_key(kept), tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == DATA
    assert settings.var_dir.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="no pg_dump here")
def test_a_postgresql_database_is_backed_up_while_it_is_written_and_restored(
    postgres_url: str, tmp_path: Path
) -> None:
    migrate(postgres_url)
    database = Database(postgres_url)
    bootstrap(database, None)
    plain = make_url(postgres_url).set(drivername="postgresql")
    where = {
        "PG": plain.render_as_string(hide_password=False),
        "BACKUP": str(tmp_path / "backup"),
        "MODELPOOL_DATABASE_URL": postgres_url,
        "MODELPOOL_VAR": str(tmp_path / "var"),
    }
    kept = add_model(database)
    with database.write() as session:
        session.add(model_row(session.scalars(select(PoolRow)).one()))
        session.flush()
        run_block("backup-postgresql", **where)
    add_model(database)
    assert len(models_of(database)) == 3
    database.dispose()

    run_block("restore-postgresql", **where)
    restored = Database(postgres_url)
    assert models_of(restored) == {kept}
    restored.dispose()


def test_the_page_names_every_metric_of_ours_and_no_other(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path, metrics_token=SecretStr("t"))
    migrate(settings.database)
    with TestClient(create_app(settings)) as client:
        text = client.get("/metrics", headers={"Authorization": "Bearer t"}).text
    ours = {family.name for family in text_string_to_metric_families(text)}
    ours = {name for name in ours if name.startswith("modelpool_")}
    named = {re.sub("_(total|count)$", "", name) for name in re.findall(r"\bmodelpool_\w+\b", PAGE)}
    assert named == ours
