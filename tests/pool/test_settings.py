"""Production refuses to run on defaults; the embedded deployment needs none of them said."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pool.database.session import Database
from pool.settings import Settings
from pool.setup import migrate
from pool.storage.directory import DirectoryStore
from pool.storage.s3 import S3Store
from pool.storage.store import open_store

PRODUCTION = {
    "MODELPOOL_ENVIRONMENT": "production",
    "MODELPOOL_DATABASE_URL": "postgresql+psycopg://db/modelpool",
    "MODELPOOL_BROKER_URL": "redis://queue/0",
    "MODELPOOL_STORAGE_URL": "s3://modelpool",
    "MODELPOOL_S3_ENDPOINT": "store:9000",
    "MODELPOOL_S3_ACCESS_KEY": "modelpool",
    "MODELPOOL_S3_SECRET_KEY": "a-secret-of-our-own",
}


def settings_from(monkeypatch: pytest.MonkeyPatch, **changed: str | None) -> Settings:
    for name, value in (PRODUCTION | changed).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    return Settings()


def test_production_starts_when_everything_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(monkeypatch)
    assert settings.database == PRODUCTION["MODELPOOL_DATABASE_URL"]
    assert settings.broker == PRODUCTION["MODELPOOL_BROKER_URL"]
    assert settings.storage == PRODUCTION["MODELPOOL_STORAGE_URL"]


@pytest.mark.parametrize(
    "name", ["MODELPOOL_DATABASE_URL", "MODELPOOL_BROKER_URL", "MODELPOOL_STORAGE_URL"]
)
@pytest.mark.parametrize("value", [None, ""])
def test_production_names_the_embedded_part_it_refuses(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    with pytest.raises(ValidationError, match=f"production: set {name}"):
        settings_from(monkeypatch, **{name: value})


@pytest.mark.parametrize("secret", [None, "", "minioadmin"])
def test_production_refuses_a_missing_or_default_storage_secret(
    monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    with pytest.raises(ValidationError, match="MODELPOOL_S3_SECRET_KEY"):
        settings_from(monkeypatch, MODELPOOL_S3_SECRET_KEY=secret)


def test_a_refusal_to_start_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "MODELPOOL_S3_SECRET_KEY": "hunter2-storage-secret",
        "MODELPOOL_BOOTSTRAP_KEY": "mp_hunter2-bootstrap-key",
        "MODELPOOL_DATABASE_URL": "postgresql+psycopg://me:hunter2@db/modelpool",
    }
    with pytest.raises(ValidationError) as refusal:
        settings_from(monkeypatch, MODELPOOL_BROKER_URL=None, **secrets)
    assert "hunter2" not in str(refusal.value)


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = repr(settings_from(monkeypatch, MODELPOOL_BOOTSTRAP_KEY="mp_bootstrap-key-0123456789"))
    assert "a-secret-of-our-own" not in shown
    assert "mp_bootstrap-key" not in shown


def test_embedded_paths_are_absolute_and_lie_under_var(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(var=Path("state"))
    assert settings.var_dir == tmp_path / "state"
    assert settings.database == f"sqlite:///{tmp_path}/state/modelpool.db"
    assert settings.storage == f"file://{tmp_path}/state/objects"
    assert settings.work_dir == tmp_path / "state" / "work"


@pytest.mark.parametrize("name", ["plain", "with a space", "100 % #1", "größe"])
def test_the_state_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    settings = Settings(var=tmp_path / name)
    migrate(settings.database)
    database = Database(settings.database)
    open_store(settings)
    with database.read() as session:
        session.connection()
    database.dispose()
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["modelpool.db", "objects"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_storage_url_chooses_the_store(tmp_path: Path) -> None:
    assert isinstance(open_store(Settings(var=tmp_path)), DirectoryStore)
    s3 = Settings(var=tmp_path, storage_url="s3://bucket", s3_endpoint="store:9000")
    assert isinstance(open_store(s3), S3Store)


@pytest.mark.parametrize("url", ["ftp://host/x", "/var/lib/modelpool"])
def test_another_storage_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="MODELPOOL_STORAGE_URL must start with"):
        open_store(Settings(var=tmp_path, storage_url=url))


@pytest.mark.parametrize(
    ("name", "value"),
    [("MODELPOOL_LEASE_S", "0"), ("MODELPOOL_MAX_ATTEMPTS", "0"), ("MODELPOOL_PORT", "http")],
)
def test_a_setting_out_of_range_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()
