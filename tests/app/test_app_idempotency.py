"""Idempotency-Key: a creating request that is sent again creates nothing twice."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import Request
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from pool.database import repository
from pool.database.limit_tables import IdempotencyKeyRow
from pool.database.session import Database
from pool.database.tables import ApiKeyRow, Base, BuildRow, ModelRow, OrganisationRow, PoolRow
from pool.domain import Scope, utc_now
from pool.errors import RequestInFlight
from pool.usecases import idempotency
from pool.usecases.keys import create_key
from pool.usecases.pools import create_pool

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
NOT_CREATING = {
    "/v1/builds/{build_id}/cancel",  # a state, not a thing; asked twice it is the same
    "/v1/meta-learners/{meta_learner_id}/predictions",  # computes; nothing of it may be kept
    "/v1/meta-learners/{meta_learner_id}/adaptations",  # in memory; its labels may not be kept
    "/v1/adaptations/{adaptation_id}/predictions",  # computes, likewise
    "/v2/models/{adaptation_id}/infer",  # likewise
}
Upload = Callable[..., Any]


def count(database: Database, table: type[Base]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def change_record(database: Database, **values: Any) -> None:
    with database.write() as session:
        session.execute(update(IdempotencyKeyRow).values(**values))


@pytest.fixture
def create(
    client: TestClient, manifest: dict[str, Any], add_model: Callable[..., ModelRow]
) -> Callable[..., Any]:
    """Send a creating request of each kind."""
    add_model()
    add_model()

    def send(kind: str, **headers: str) -> Any:
        if kind == "/v1/models":
            parts = {"manifest": (None, json.dumps(manifest)), "checkpoint": ("m", b"weights")}
            return client.post(kind, files=parts, headers=headers)
        body: dict[str, Any] = {
            "/v1/pools": {"name": "ward 3"},
            "/v1/keys": {"name": "k", "scopes": ["predict"]},
            "/v1/builds": {"recipe": {"algorithm": "ensemble"}},
        }[kind]
        return client.post(kind, json=body, headers=headers)

    return send


TABLES = {
    "/v1/models": ModelRow,
    "/v1/pools": PoolRow,
    "/v1/keys": ApiKeyRow,
    "/v1/builds": BuildRow,
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_request_sent_again_is_answered_as_before_and_creates_nothing(
    create: Callable[..., Any], database: Database, kind: str
) -> None:
    first = create(kind, **KEY)
    there = count(database, TABLES[kind])
    again = create(kind, **KEY)
    assert first.status_code in (201, 202), first.text
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "application/json"
    assert again.status_code == first.status_code
    assert again.json() == first.json() | ({"key": None} if kind == "/v1/keys" else {})
    assert count(database, TABLES[kind]) == there


def test_the_same_bytes_under_a_new_key_are_kept_with_their_200(
    create: Callable[..., Any], database: Database
) -> None:
    create("/v1/models")
    first, again = create("/v1/models", **KEY), create("/v1/models", **KEY)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.headers["idempotency-replayed"] == "true"


def test_a_keys_secret_is_in_no_record_of_the_database(
    create: Callable[..., Any], database: Database
) -> None:
    secret = create("/v1/keys", **KEY).json()["key"]
    with database.read() as session:
        kept = session.scalars(select(IdempotencyKeyRow)).one()
    assert kept.body is not None
    assert secret not in kept.body
    assert json.loads(kept.body)["key"] is None


def test_nothing_is_kept_of_a_prediction(
    ask: Callable[..., Any],
    add_meta_learner: Callable[..., Any],
    client: TestClient,
    encode: Callable[..., bytes],
    database: Database,
) -> None:
    client.headers.update(KEY)
    learner = add_meta_learner()
    support = [("a", encode(1)), ("b", encode(2))]
    answers = [ask(learner.id, support, [encode(3)]) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert "idempotency-replayed" not in answers[1].headers
    assert count(database, IdempotencyKeyRow) == 0


def test_another_request_under_the_same_key_is_refused(client: TestClient) -> None:
    client.post("/v1/pools", json={"name": "a"}, headers=KEY)
    others = [
        client.post("/v1/pools", json={"name": "b"}, headers=KEY),
        client.post("/v1/keys", json={"name": "a", "scopes": ["predict"]}, headers=KEY),
    ]
    for answer in others:
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")


@pytest.mark.parametrize("changed", [{"data": b"others"}, {"name": "another name"}])
def test_an_upload_of_other_bytes_or_another_manifest_is_another_request(
    client: TestClient, upload: Upload, changed: dict[str, Any]
) -> None:
    client.headers.update(KEY)
    assert upload().status_code == 202
    answer = upload(**changed)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")


def test_two_organisations_may_use_one_key(
    app: FastAPI, client: TestClient, database: Database
) -> None:
    with database.write() as session:
        session.add(OrganisationRow(id="org_2", name="another"))
        session.flush()
        _, secret = create_key(session, "org_2", name="k", scopes=list(Scope))
    other = TestClient(app, headers={"Authorization": f"Bearer {secret}"})
    answers = [each.post("/v1/pools", json={"name": "a"}, headers=KEY) for each in (client, other)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["id"] != answers[1].json()["id"]


def test_a_key_without_the_scope_hears_no_kept_answer(
    client: TestClient, with_scopes: Callable[..., TestClient]
) -> None:
    client.post("/v1/pools", json={"name": "a"}, headers=KEY)
    answer = with_scopes(Scope.PREDICT).post("/v1/pools", json={"name": "a"}, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed")


@pytest.mark.parametrize("bad", ["", "a" * 256, "tab\there", "\x80"])
def test_a_key_is_1_to_255_printable_characters(client: TestClient, bad: str) -> None:
    headers = {"Idempotency-Key": bad.encode("latin-1")}
    answer = client.post("/v1/pools", json={"name": "a"}, headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


def test_a_quoted_key_is_the_same_key(client: TestClient) -> None:
    first = client.post("/v1/pools", json={"name": "a"}, headers={"Idempotency-Key": "k"})
    again = client.post("/v1/pools", json={"name": "a"}, headers={"Idempotency-Key": '"k"'})
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()


# Requests that fail or die.


def test_a_refused_request_leaves_its_key_free_to_be_mended(
    client: TestClient, database: Database
) -> None:
    refused = [
        client.post("/v1/pools", json={"name": "default"}, headers=KEY),  # exists
        client.post("/v1/pools", json={"name": 7}, headers=KEY),  # no text
        client.post("/v1/pools", content=b"{", headers=KEY),  # no JSON
    ]
    assert [answer.status_code for answer in refused] == [409, 422, 422]
    assert count(database, IdempotencyKeyRow) == 0
    assert client.post("/v1/pools", json={"name": "mended"}, headers=KEY).status_code == 201


def test_a_server_error_is_not_replayed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr("app.routes.pools.create_pool", fail)
        assert client.post("/v1/pools", json={"name": "a"}, headers=KEY).status_code == 500
    mended = client.post("/v1/pools", json={"name": "a"}, headers=KEY)
    assert mended.status_code == 201
    assert "idempotency-replayed" not in mended.headers


def hold(database: Database, body: dict[str, str]) -> idempotency.Claim:
    """Claim KEY for POST /v1/pools as a request does that is then at work, or dead."""
    sent = Request("POST", "http://x/v1/pools", json=body).content
    text = f"POST /v1/pools\n{hashlib.sha256(sent).hexdigest()}"
    with database.write() as session:
        organisation = session.scalars(select(OrganisationRow)).one()
        found = idempotency.claim(
            session,
            organisation.id,
            KEY["Idempotency-Key"],
            fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        )
    assert isinstance(found, idempotency.Claim)
    return found


def test_while_the_first_request_is_at_work_the_second_is_told_to_wait(
    client: TestClient, database: Database
) -> None:
    hold(database, {"name": "a"})
    answer = client.post("/v1/pools", json={"name": "a"}, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (409, "request-in-flight")
    assert int(answer.headers["retry-after"]) >= 1


def test_a_request_whose_process_died_is_taken_over_after_its_lease(
    client: TestClient, database: Database
) -> None:
    hold(database, {"name": "a"})
    change_record(database, lease_until=utc_now() - timedelta(seconds=1))
    taken = client.post("/v1/pools", json={"name": "a"}, headers=KEY)
    assert taken.status_code == 201
    again = client.post("/v1/pools", json={"name": "a"}, headers=KEY)
    assert again.json() == taken.json()


def test_a_slow_request_that_was_taken_over_creates_nothing(
    client: TestClient, database: Database
) -> None:
    slow = hold(database, {"name": "a"})
    change_record(database, lease_until=utc_now() - timedelta(seconds=1))
    taken = client.post("/v1/pools", json={"name": "a"}, headers=KEY).json()

    def go_on() -> None:
        with database.write() as session:
            create_pool(session, slow.organisation_id, name="the slow one's", description=None)
            idempotency.keep(session, slow, idempotency.KeptAnswer(status=201, body="{}"))

    with pytest.raises(RequestInFlight):
        go_on()
    with database.read() as session:
        pools = repository.list_pools(session, slow.organisation_id)
        assert [pool.id for pool in pools if pool.name != "default"] == [taken["id"]]


def test_an_answer_is_forgotten_after_a_day_and_the_key_is_free_for_anything(
    client: TestClient, database: Database
) -> None:
    client.post("/v1/pools", json={"name": "a"}, headers=KEY)
    change_record(database, expires_at=utc_now() - timedelta(seconds=1))
    answer = client.post("/v1/pools", json={"name": "b"}, headers=KEY)
    assert (answer.status_code, answer.json()["name"]) == (201, "b")
    with database.write() as session:
        assert idempotency.forget_expired(session) == 0
    change_record(database, expires_at=utc_now() - timedelta(seconds=1))
    with database.write() as session:
        assert idempotency.forget_expired(session) == 1
    assert count(database, IdempotencyKeyRow) == 0


def test_every_creating_operation_documents_the_header(app: FastAPI) -> None:
    without = [
        path
        for path, operations in app.openapi()["paths"].items()
        if "post" in operations
        and path not in NOT_CREATING
        and not any(
            parameter["name"] == "Idempotency-Key" and parameter["in"] == "header"
            for parameter in operations["post"].get("parameters", [])
        )
    ]
    assert without == []
