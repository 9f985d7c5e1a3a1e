"""Every failure is problem+json with a stable code, an address that explains it, and an id."""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.errors import STATUS, code_of, title_of
from app.main import create_app
from pool.database import repository
from pool.database.session import Database
from pool.domain import Scope
from pool.errors import PoolError
from pool.settings import Settings
from pool.setup import migrate
from pool.usecases.bootstrap import bootstrap

ADMIN = "mp_an-admins-key-on-postgresql"


def leaves(error: type[PoolError]) -> Iterator[type[PoolError]]:
    for below in error.__subclasses__():
        yield from leaves(below)
    if not error.__subclasses__():
        yield error


def test_every_refusal_of_the_pool_has_a_status_and_a_title() -> None:
    for leaf in leaves(PoolError):
        assert 400 <= STATUS[leaf] < 600
        assert title_of(leaf)
    assert len({code_of(leaf) for leaf in STATUS}) == len(STATUS)


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Who can provoke a refusal."""

    admin: TestClient
    anonymous: TestClient
    upload: Callable[..., Any]
    with_scopes: Callable[..., TestClient]


@pytest.fixture
def clients(
    client: TestClient,
    anonymous: TestClient,
    upload: Callable[..., Any],
    with_scopes: Callable[..., TestClient],
) -> Clients:
    """All of them."""
    return Clients(admin=client, anonymous=anonymous, upload=upload, with_scopes=with_scopes)


UNKNOWN_ALGORITHM = {"recipe": {"algorithm": "x"}}
PROVOKED: dict[str, tuple[int, Callable[[Clients], Any]]] = {
    "not-authenticated": (401, lambda by: by.anonymous.get("/v1/models")),
    "not-allowed": (403, lambda by: by.with_scopes(Scope.PREDICT).get("/v1/models")),
    "model-not-found": (404, lambda by: by.admin.get("/v1/models/x")),
    "build-not-found": (404, lambda by: by.admin.get("/v1/builds/x")),
    "meta-learner-not-found": (404, lambda by: by.admin.get("/v1/meta-learners/x")),
    "key-not-found": (404, lambda by: by.admin.delete("/v1/keys/x")),
    "pool-not-found": (404, lambda by: by.admin.get("/v1/models?pool=x")),
    "not-found": (404, lambda by: by.admin.get("/v2/models")),
    "method-not-allowed": (405, lambda by: by.admin.put("/v1/models")),
    "pool-exists": (409, lambda by: by.admin.post("/v1/pools", json={"name": "default"})),
    "no-usable-models": (409, lambda by: by.admin.post("/v1/builds", json={})),
    "too-large": (413, lambda by: by.admin.post("/v1/pools", content=bytes(1_100_000))),
    "invalid-input": (422, lambda by: by.admin.post("/v1/pools", json={"name": 7})),
    "invalid-recipe": (422, lambda by: by.admin.post("/v1/builds", json=UNKNOWN_ALGORITHM)),
    "empty-checkpoint": (422, lambda by: by.upload(b"")),
    "checksum-mismatch": (422, lambda by: by.upload(sha256="0" * 64)),
}


@pytest.mark.parametrize("code", PROVOKED)
def test_a_refusal_is_a_problem_document(clients: Clients, code: str) -> None:
    status, provoke = PROVOKED[code]
    answer = provoke(clients)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"/v1/problems/{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    explained = clients.anonymous.get(problem["type"])
    assert explained.status_code == 200
    assert (explained.json()["code"], explained.json()["status"]) == (code, status)


def test_the_list_of_problems_holds_every_refusal(anonymous: TestClient) -> None:
    listed = {each["code"]: each["status"] for each in anonymous.get("/v1/problems").json()}
    assert listed == {code_of(leaf): STATUS[leaf] for leaf in leaves(PoolError)}


def test_broken_json_is_a_problem_document_too(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b"{", b"\xff", b"[" * 100_000):
        answer = client.post("/v1/pools", content=body, headers=headers)
        assert answer.status_code in (400, 422)
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_refusal_does_not_repeat_what_was_sent(client: TestClient) -> None:
    orders: list[Any] = [{"name": ["hunter2"]}, {"name": "hunter2\x00"}, ["hunter2"], "hunter2"]
    for order in orders:
        answer = client.post("/v1/pools", json=order)
        assert answer.status_code == 422
        assert "hunter2" not in answer.text


# What nobody expected.

SECRET = "hunter2-quoted-by-an-exception"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect whose message quotes what a client sent."""

    def fail(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(repository, "list_pools", fail)


@pytest.mark.usefixtures("broken")
def test_an_unexpected_failure_is_a_500_that_says_nothing_but_its_id(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = client.get("/v1/pools")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "internal-error")
    assert answer.headers["content-type"] == "application/problem+json"
    assert SECRET not in answer.text
    assert "RuntimeError" not in answer.text
    assert re.fullmatch(r"[0-9a-f]{16}", problem["request_id"])
    assert client.get(problem["type"]).status_code == HTTPStatus.OK
    assert "unexpected RuntimeError" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("broken")
def test_an_unexpected_failure_carries_its_id_in_the_header_and_its_status_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="modelpool.access"):
        answer = client.get("/v1/pools")
    assert answer.headers.get("x-request-id") == answer.json()["request_id"]
    assert "GET /v1/pools 500" in caplog.text


@pytest.mark.usefixtures("broken")
def test_an_unexpected_failure_does_not_reach_the_web_server_which_would_log_its_message(
    app: FastAPI, client: TestClient
) -> None:
    strict = TestClient(app, headers=client.headers)  # raises what the web server would see
    assert strict.get("/v1/pools").status_code == 500


def test_the_access_log_names_routes_not_ids(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="modelpool.access"):
        client.get("/v1/models/mdl_hunter2")
        client.get("/v1/models?cursor=hunter2")
        client.get("/hunter2/hunter2")
    lines = [each.getMessage() for each in caplog.records if each.name == "modelpool.access"]
    assert "GET /v1/models/{model_id} 404" in lines[0]
    assert "GET /v1/models 422" in lines[1]
    assert "GET unmatched 404" in lines[2]
    assert not any("hunter2" in line for line in lines)


# Text that SQLite stores and PostgreSQL refuses.


@pytest.fixture
def on_postgresql(postgres_url: str, settings: Settings) -> Iterator[TestClient]:
    """An admin of a deployment on PostgreSQL."""
    migrate(postgres_url)
    database = Database(postgres_url)
    bootstrap(database, ADMIN)
    database.dispose()
    app = create_app(settings.model_copy(update={"database_url": postgres_url}))
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with TestClient(app, raise_server_exceptions=False, headers=headers) as client:
        yield client


def test_a_nul_character_anywhere_is_refused_not_a_defect(on_postgresql: TestClient) -> None:
    made = {"name": "k", "scopes": ["predict"]}
    answers = {
        "path": on_postgresql.get("/v1/models/%00"),
        "query": on_postgresql.get("/v1/models?pool=%00"),
        "build's pool": on_postgresql.post("/v1/builds", json={"pool": "\x00"}),
        "build's models": on_postgresql.post("/v1/builds", json={"models": ["\x00", "b"]}),
        "pool's description": on_postgresql.post(
            "/v1/pools", json={"name": "p", "description": "\x00"}
        ),
        "key's name": on_postgresql.post("/v1/keys", json=made | {"name": "\x00"}),
    }
    statuses = {where: answer.status_code for where, answer in answers.items()}
    assert {where: status for where, status in statuses.items() if status not in (404, 422)} == {}
