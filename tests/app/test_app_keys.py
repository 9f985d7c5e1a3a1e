"""Who may do what: every route asks for its scope, and keys are shown once and end at once."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pool.database.session import Database
from pool.database.tables import ApiKeyRow, PoolRow
from pool.domain import Scope, utc_now
from pool.usecases.keys import create_key

NEEDS: dict[str, Scope] = {
    "POST /v1/models": Scope.MODELS_WRITE,
    "GET /v1/models": Scope.MODELS_READ,
    "GET /v1/models/{model_id}": Scope.MODELS_READ,
    "DELETE /v1/models/{model_id}": Scope.MODELS_WRITE,
    "POST /v1/uploads": Scope.MODELS_WRITE,
    "GET /v1/uploads": Scope.MODELS_READ,
    "GET /v1/uploads/{upload_id}": Scope.MODELS_WRITE,
    "DELETE /v1/uploads/{upload_id}": Scope.MODELS_WRITE,
    "PUT /v1/uploads/{upload_id}/parts/{number}": Scope.MODELS_WRITE,
    "POST /v1/uploads/{upload_id}/complete": Scope.MODELS_WRITE,
    "POST /v1/builds": Scope.BUILDS_WRITE,
    "GET /v1/builds": Scope.BUILDS_READ,
    "GET /v1/builds/{build_id}": Scope.BUILDS_READ,
    "POST /v1/builds/{build_id}/cancel": Scope.BUILDS_WRITE,
    "POST /v1/builds/{build_id}/resume": Scope.BUILDS_WRITE,
    "GET /v1/builds/{build_id}/events": Scope.BUILDS_READ,
    "GET /v1/builds/{build_id}/events/poll": Scope.BUILDS_READ,
    "GET /v1/meta-learners": Scope.BUILDS_READ,
    "GET /v1/meta-learners/{meta_learner_id}": Scope.BUILDS_READ,
    "POST /v1/meta-learners/{meta_learner_id}/predictions": Scope.PREDICT,
    "POST /v1/meta-learners/{meta_learner_id}/adaptations": Scope.PREDICT,
    "GET /v1/meta-learners/{meta_learner_id}/export": Scope.BUILDS_WRITE,
    "GET /v1/adaptations/{adaptation_id}": Scope.PREDICT,
    "DELETE /v1/adaptations/{adaptation_id}": Scope.PREDICT,
    "POST /v1/adaptations/{adaptation_id}/predictions": Scope.PREDICT,
    "GET /v1/adaptations/{adaptation_id}/export": Scope.BUILDS_WRITE,
    "GET /v2/models/{adaptation_id}": Scope.PREDICT,
    "GET /v2/models/{adaptation_id}/ready": Scope.PREDICT,
    "POST /v2/models/{adaptation_id}/infer": Scope.PREDICT,
    "GET /v1/models/{model_id}/lineage": Scope.BUILDS_READ,
    "GET /v1/pools/{pool}/aliases": Scope.BUILDS_READ,
    "GET /v1/pools/{pool}/aliases/{alias}": Scope.BUILDS_READ,
    "PUT /v1/pools/{pool}/aliases/{alias}": Scope.BUILDS_WRITE,
    "DELETE /v1/pools/{pool}/aliases/{alias}": Scope.BUILDS_WRITE,
    "GET /v1/pools/{pool}/task-map": Scope.MODELS_READ,
    "GET /v1/pools": Scope.MODELS_READ,
    "POST /v1/pools": Scope.MODELS_WRITE,
    "GET /v1/pools/{pool}/members": Scope.MODELS_READ,
    "PUT /v1/pools/{pool}/members/{organisation_id}": Scope.POOLS_ADMIN,
    "DELETE /v1/pools/{pool}/members/{organisation_id}": Scope.POOLS_ADMIN,
    "GET /v1/keys": Scope.KEYS_ADMIN,
    "POST /v1/keys": Scope.KEYS_ADMIN,
    "DELETE /v1/keys/{key_id}": Scope.KEYS_ADMIN,
    "POST /v1/keys/{key_id}/rotate": Scope.KEYS_ADMIN,
    "GET /v1/audit": Scope.AUDIT_READ,
}
ANY_KEY = {"GET /v1/usage"}
OPEN = {
    "GET /v1/problems",
    "GET /v1/problems/{code}",
    "GET /healthz/live",
    "GET /healthz/ready",
    "GET /version",
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
}


def call(client: TestClient, route: str) -> Any:
    method, path = route.split()
    body = {"json": {}} if method == "POST" and "{" not in path and path != "/v1/models" else {}
    return client.request(method, re.sub(r"{\w+}", "nothing", path), **body)


def test_every_route_of_the_api_is_either_open_or_needs_a_scope(app: FastAPI) -> None:
    found = {
        f"{method.upper()} {path}": operation
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }
    assert set(found) == set(NEEDS) | ANY_KEY | OPEN
    secured = {route for route, operation in found.items() if "security" in operation}
    assert secured == set(NEEDS) | ANY_KEY


@pytest.mark.parametrize("route", NEEDS)
def test_without_a_key_a_route_answers_401(anonymous: TestClient, route: str) -> None:
    answer = call(anonymous, route)
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("route", NEEDS)
def test_a_key_without_the_scope_gets_403_and_hears_which_it_needs(
    with_scopes: Callable[..., TestClient], route: str
) -> None:
    others = [scope for scope in Scope if scope is not NEEDS[route]]
    answer = call(with_scopes(*others), route)
    assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed")
    assert NEEDS[route] in answer.json()["detail"]


@pytest.mark.parametrize("route", NEEDS)
def test_a_key_with_just_that_scope_gets_through(
    with_scopes: Callable[..., TestClient], route: str
) -> None:
    assert call(with_scopes(NEEDS[route]), route).status_code in (200, 201, 202, 404, 409, 422)


@pytest.mark.parametrize("route", sorted(OPEN))
def test_an_open_route_asks_for_no_key(anonymous: TestClient, route: str) -> None:
    assert call(anonymous, route).status_code == 200


@pytest.mark.parametrize(
    "value", ["Basic bXA6bXA=", "Bearer", "Bearer ", "Bearer mp_wrong", "mp_wrong", "Bearer ü"]
)
def test_a_header_that_carries_no_valid_key_gets_401(anonymous: TestClient, value: str) -> None:
    headers = {"Authorization": value.encode("latin-1")}
    assert anonymous.get("/v1/models", headers=headers).status_code == 401


def test_a_key_is_shown_when_made_and_never_again(client: TestClient) -> None:
    order = {"name": "ward 3", "scopes": ["models:read", "models:read", "predict"]}
    made = client.post("/v1/keys", json=order)
    assert made.status_code == 201
    record = made.json()
    key = record.pop("key")
    assert key.startswith("mp_")
    assert record["scopes"] == ["models:read", "predict"]
    listed = client.get("/v1/keys")
    assert record in listed.json()["items"]
    assert key not in listed.text
    assert "sha256" not in listed.text


def test_a_made_key_works_until_it_is_revoked(client: TestClient, app: FastAPI) -> None:
    made = client.post("/v1/keys", json={"name": "k", "scopes": ["models:read"]}).json()
    bearer = {"Authorization": f"Bearer {made['key']}"}
    other = TestClient(app, headers=bearer)
    assert other.get("/v1/models").status_code == 200
    ended = client.delete(f"/v1/keys/{made['id']}")
    assert (ended.status_code, ended.json()["revoked_at"] is None) == (200, False)
    assert other.get("/v1/models").status_code == 401


def test_an_expired_key_gets_401(
    app: FastAPI, anonymous: TestClient, database: Database, pool_row: PoolRow
) -> None:
    with database.write() as session:
        _, key = create_key(
            session,
            pool_row.organisation_id,
            name="k",
            scopes=list(Scope),
            expires_at=utc_now() - timedelta(seconds=1),
        )
    answer = anonymous.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


def test_an_unknown_key_cannot_be_revoked(client: TestClient) -> None:
    answer = client.delete("/v1/keys/key_nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "key-not-found")


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("body/name", {"name": ""}),
        ("body/name", {"name": "k" * 201}),
        ("body/name", {"name": "k\x00"}),
        ("body/scopes", {"scopes": []}),
        ("body/scopes/0", {"scopes": ["everything"]}),
        ("body/expires_at", {"expires_at": "2026-01-01T00:00:00"}),
        ("body/expires_at", {"expires_at": "0001-01-01T00:00:00+14:00"}),
        ("body/key", {"key": "mp_chosen-by-the-client-0123456789"}),
    ],
)
def test_a_wrong_order_for_a_key_is_refused_by_part(
    client: TestClient, part: str, changed: dict[str, Any]
) -> None:
    order = {"name": "k", "scopes": ["models:read"]} | changed
    answer = client.post("/v1/keys", json=order)
    assert answer.status_code == 422
    assert [fault["part"] for fault in answer.json()["errors"]] == [part]


def rotate(client: TestClient, key_id: str, **order: Any) -> Any:
    return client.post(f"/v1/keys/{key_id}/rotate", json=order)


def works(app: FastAPI, key: str) -> bool:
    headers = {"Authorization": f"Bearer {key}"}
    return TestClient(app, headers=headers).get("/v1/usage").status_code == 200


def test_a_rotated_key_keeps_its_id_and_its_secret_before_ends_at_once_or_with_the_overlap(
    client: TestClient, app: FastAPI, database: Database
) -> None:
    made = client.post("/v1/keys", json={"name": "k", "scopes": ["models:read"]}).json()
    second = rotate(client, made["id"]).json()
    assert (second["id"], second["scopes"]) == (made["id"], ["models:read"])
    assert [works(app, each["key"]) for each in (made, second)] == [False, True]
    third = rotate(client, made["id"], overlap_s=3600).json()
    assert [works(app, each["key"]) for each in (made, second, third)] == [False, True, True]
    with database.write() as session:
        row = session.get_one(ApiKeyRow, made["id"])
        row.previous_until = utc_now() - timedelta(seconds=1)
    assert [works(app, each["key"]) for each in (second, third)] == [False, True]
    fourth = rotate(client, made["id"], overlap_s=3600).json()
    fifth = rotate(client, made["id"], overlap_s=3600).json()
    assert [works(app, each["key"]) for each in (third, fourth, fifth)] == [False, True, True]
    client.delete(f"/v1/keys/{made['id']}")
    assert [works(app, each["key"]) for each in (fourth, fifth)] == [False, False]
    ended = rotate(client, made["id"])
    assert (ended.status_code, ended.json()["code"]) == (409, "key-ended")


def test_no_key_makes_or_rotates_one_that_may_do_more_than_itself(
    client: TestClient, with_scopes: Callable[..., TestClient]
) -> None:
    weak = with_scopes(Scope.KEYS_ADMIN, Scope.PREDICT)
    more = weak.post("/v1/keys", json={"name": "k", "scopes": ["predict", "models:read"]})
    assert (more.status_code, more.json()["code"]) == (403, "not-allowed")
    assert "models:read" in more.json()["detail"]
    same = weak.post("/v1/keys", json={"name": "k", "scopes": ["predict"]}).json()
    assert rotate(weak, same["id"]).status_code == 201
    strong = client.post("/v1/keys", json={"name": "k", "scopes": ["models:read"]}).json()
    assert rotate(weak, strong["id"]).status_code == 403
    assert weak.delete(f"/v1/keys/{strong['id']}").status_code == 200


def test_a_rotation_sent_again_changes_nothing_and_shows_no_secret(
    client: TestClient, app: FastAPI
) -> None:
    made = client.post("/v1/keys", json={"name": "k", "scopes": ["predict"]}).json()
    client.headers["Idempotency-Key"] = "rotate once"
    first, again = (rotate(client, made["id"]) for _ in range(2))
    assert (again.status_code, again.json()["key"]) == (201, None)
    assert works(app, first.json()["key"])


def test_the_audit_trail_names_who_did_what_in_which_request_page_by_page(
    client: TestClient, with_scopes: Callable[..., TestClient]
) -> None:
    made = [client.post("/v1/keys", json={"name": "k", "scopes": ["predict"]}) for _ in range(5)]
    auditor = with_scopes(Scope.AUDIT_READ)
    seen: list[dict[str, Any]] = []
    cursor = None
    while len(seen) < 100:
        page = auditor.get(
            "/v1/audit", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        )
        seen += page.json()["items"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert [each["seq"] for each in seen] == list(range(len(seen), 0, -1))
    ours = {each["object_id"]: each for each in seen if each["action"] == "key-made"}
    for answer in made:
        event = ours[answer.json()["id"]]
        assert event["request_id"] == answer.headers["x-request-id"]
        assert event["key_id"] is not None
    assert "mp_" not in json.dumps(seen)
    of_pool = auditor.get("/v1/audit", params={"pool": "default"}).json()["items"]
    assert [each["action"] for each in of_pool] == ["pool-made"]
    bad = auditor.get("/v1/audit", params={"cursor": "x"})
    assert (bad.status_code, bad.json()["errors"][0]["part"]) == (422, "query/cursor")
