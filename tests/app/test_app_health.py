"""Liveness, readiness and version, as an orchestrator asks for them."""

import shutil
import socket
import threading
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text, update
from starlette.testclient import TestClient

from app.main import create_app
from pool.database import heartbeats
from pool.database.heartbeat_tables import HeartbeatRow
from pool.database.session import Database
from pool.domain import utc_now
from pool.probes import Away, probe_broker, probe_workers
from pool.queue import make_celery
from pool.settings import Settings


def states(answer: Any) -> dict[str, str]:
    return {name: each["state"] for name, each in answer.json()["dependencies"].items()}


def test_a_server_that_is_set_up_is_ready_even_before_its_workers_are(
    anonymous: TestClient,
) -> None:
    answer = anonymous.get("/healthz/ready")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    found = states(answer)
    assert found == {"database": "ok", "storage": "ok", "broker": "ok", "workers": "away"}


def test_a_server_without_its_database_is_alive_but_not_ready(
    anonymous: TestClient, settings: Settings
) -> None:
    (settings.var_dir / "modelpool.db").unlink()
    answer = anonymous.get("/healthz/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert (states(answer)["database"], states(answer)["storage"]) == ("away", "ok")
    assert anonymous.get("/healthz/live").status_code == 200


def test_a_server_without_its_store_is_alive_but_not_ready(
    anonymous: TestClient, settings: Settings
) -> None:
    shutil.rmtree(settings.var_dir / "objects")
    answer = anonymous.get("/healthz/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert (states(answer)["database"], states(answer)["storage"]) == ("ok", "away")
    assert anonymous.get("/healthz/live").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("revision", "status", "word"), [("0001", 503, "make migrate"), ("9999", 200, "newer")]
)
def test_an_older_schema_makes_unready_and_a_newer_one_does_not(
    anonymous: TestClient, database: Database, revision: str, status: int, word: str
) -> None:
    with database.write() as session:
        session.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    answer = anonymous.get("/healthz/ready")
    assert answer.status_code == status
    assert word in answer.json()["dependencies"]["database"]["detail"]


def test_a_server_without_its_broker_says_so_and_stays_ready(
    anonymous: TestClient, settings: Settings
) -> None:
    messages = settings.var_dir / "messages"
    shutil.rmtree(messages)
    messages.write_text("a file where the directory was")
    answer = anonymous.get("/healthz/ready")
    assert (answer.status_code, states(answer)["broker"]) == (200, "away")


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_refuses_connections_is_away(settings: Settings, scheme: str) -> None:
    with socket.socket() as bound:  # and never listening
        bound.bind(("127.0.0.1", 0))
        broker = f"{scheme}://nobody:secret@127.0.0.1:{bound.getsockname()[1]}/0"
        gone = settings.model_copy(update={"broker_url": broker})
        with pytest.raises(Away) as away:
            probe_broker(gone, make_celery(gone))
    assert "secret" not in str(away.value)


def test_a_store_that_hangs_neither_hangs_the_probe_nor_collects_threads(
    settings: Settings,
) -> None:
    """The store accepts connections and never says a word."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hanging = settings.model_copy(
            update={
                "storage_url": "s3://bucket",
                "s3_endpoint": f"127.0.0.1:{silent.getsockname()[1]}",
                "s3_access_key": SecretStr("access"),
                "s3_secret_key": SecretStr("a-secret-of-the-store"),
                "s3_secure": False,
            }
        )
        with TestClient(create_app(hanging)) as client:
            for _ in range(2):
                answer = client.get("/healthz/ready")
                assert answer.status_code == 503
                assert states(answer)["storage"] == "away"
                assert states(answer)["database"] == "ok"
                client.app.state.readiness._last = None  # time passes
            asking = [t for t in threading.enumerate() if t.name.startswith("readiness")]
            assert len(asking) <= 4
            assert client.get("/healthz/live").status_code == 200


def test_workers_count_while_they_give_signs_of_life(
    anonymous: TestClient, database: Database, settings: Settings
) -> None:
    with database.write() as session:
        heartbeats.beat(session, "both@here", queues=["gpu", "inspect"])
    assert states(anonymous.get("/healthz/ready"))["workers"] == "ok"
    with database.write() as session:
        session.execute(update(HeartbeatRow).values(seen_at=utc_now() - timedelta(seconds=31)))
    with pytest.raises(Away, match="0 of queue inspect"):
        probe_workers(settings, database)


def test_a_server_says_which_release_it_is(anonymous: TestClient) -> None:
    answer = anonymous.get("/version").json()
    assert answer["api"] == "v1"
    assert answer["version"].count(".") == 2


def test_the_front_door_is_the_page_and_the_documentation_is_beside_it(
    anonymous: TestClient,
) -> None:
    answer = anonymous.get("/", follow_redirects=False)
    assert answer.headers["content-type"].startswith("text/html")
    assert "Modelpool" in answer.text
    assert anonymous.get("/docs").status_code == 200
