"""Liveness, readiness and version, as an orchestrator asks for them."""

import shutil

from starlette.testclient import TestClient

from pool.settings import Settings


def test_a_server_that_is_set_up_is_ready(anonymous: TestClient) -> None:
    answer = anonymous.get("/healthz/ready")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "database": True, "storage": True}


def test_a_server_without_its_database_is_alive_but_not_ready(
    anonymous: TestClient, settings: Settings
) -> None:
    (settings.var_dir / "modelpool.db").unlink()
    answer = anonymous.get("/healthz/ready")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "database": False, "storage": True}
    assert anonymous.get("/healthz/live").status_code == 200


def test_a_server_without_its_store_is_alive_but_not_ready(
    anonymous: TestClient, settings: Settings
) -> None:
    shutil.rmtree(settings.var_dir / "objects")
    answer = anonymous.get("/healthz/ready")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "database": True, "storage": False}
    assert anonymous.get("/healthz/live").json() == {"status": "ok"}


def test_a_server_says_which_release_it_is(anonymous: TestClient) -> None:
    answer = anonymous.get("/version").json()
    assert answer["api"] == "v1"
    assert answer["version"].count(".") == 2


def test_the_front_door_leads_to_the_documentation(anonymous: TestClient) -> None:
    answer = anonymous.get("/", follow_redirects=False)
    assert answer.is_redirect
    assert anonymous.get(answer.headers["location"]).status_code == 200
