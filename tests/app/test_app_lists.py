"""Lists: filters, and cursors that hold while records are added."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from pool.database.tables import MetaLearnerRow, ModelRow
from pool.domain import ModelStatus, utc_now

AddModel = Callable[..., ModelRow]


def walk(client: TestClient, path: str, *, between: Callable[[], Any]) -> list[str]:
    """The ids on all pages, while `between` happens after each."""
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = client.get(path, params=params).json()
        assert len(page["items"]) <= 3
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return seen
        between()


def test_models_are_listed_newest_first(client: TestClient, add_model: AddModel) -> None:
    now = utc_now()
    ages = [2, 0, 1]
    ids = [add_model(created_at=now - timedelta(hours=age)).id for age in ages]
    page = client.get("/v1/models").json()
    assert [item["id"] for item in page["items"]] == [ids[1], ids[2], ids[0]]
    assert page["next_cursor"] is None


@pytest.mark.parametrize("n_models", [0, 1, 3, 7])
def test_all_pages_hold_each_record_once_while_others_are_added(
    client: TestClient, add_model: AddModel, n_models: int
) -> None:
    before = utc_now() - timedelta(hours=1)
    ids = [add_model(created_at=before + timedelta(seconds=i)).id for i in range(n_models)]
    assert walk(client, "/v1/models", between=add_model) == ids[::-1]


def test_records_of_the_same_moment_are_paged_without_loss(
    client: TestClient, add_model: AddModel
) -> None:
    moment = utc_now()
    ids = [add_model(created_at=moment).id for _ in range(8)]
    assert walk(client, "/v1/models", between=lambda: None) == sorted(ids, reverse=True)


def test_builds_and_meta_learners_are_paged_alike(
    client: TestClient, add_meta_learner: Callable[..., MetaLearnerRow]
) -> None:
    learners = [add_meta_learner() for _ in range(4)]
    found = walk(client, "/v1/meta-learners", between=lambda: None)
    assert sorted(found) == sorted(row.id for row in learners)
    found = walk(client, "/v1/builds", between=lambda: None)
    assert sorted(found) == sorted(row.build_id for row in learners)


def test_models_are_filtered_by_state_and_pool(client: TestClient, add_model: AddModel) -> None:
    client.post("/v1/pools", json={"name": "ward-3"})
    ready, rejected = add_model(), add_model(ModelStatus.REJECTED, reason="no", recipe="do")

    def ids(**params: str) -> list[str]:
        return [item["id"] for item in client.get("/v1/models", params=params).json()["items"]]

    assert ids(status="ready") == [ready.id]
    assert ids(status="rejected", pool="default") == [rejected.id]
    assert ids(pool="ward-3") == []
    assert client.get("/v1/models", params={"pool": "nowhere"}).status_code == 404


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


BAD_CURSORS = {
    "nonsense": "nonsense",
    "not ASCII": "cursör",
    "a wrong padding": "abc",
    "a number": encoded(7),
    "an object": encoded({"a": 1, "b": 2}),
    "one part": encoded(["2026-01-01T00:00:00+00:00"]),
    "no moment": encoded(["yesterday", "mdl_1"]),
    "a moment without a zone": encoded(["2026-01-01T00:00:00", "mdl_1"]),
    "a moment that no database knows": encoded(["0001-01-01T00:00:00+14:00", "mdl_1"]),
    "an id that is no text": encoded(["2026-01-01T00:00:00+00:00", 7]),
    "bytes that are no text": base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    "too long": "a" * 1501,
}


@pytest.mark.parametrize("kind", BAD_CURSORS)
def test_a_cursor_that_is_none_of_ours_is_refused(client: TestClient, kind: str) -> None:
    answer = client.get("/v1/models", params={"cursor": BAD_CURSORS[kind]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
    assert answer.json()["errors"][0]["part"] == "query/cursor"


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many"])
def test_a_limit_out_of_range_is_refused(client: TestClient, limit: str) -> None:
    answer = client.get("/v1/models", params={"limit": limit})
    assert (answer.status_code, answer.json()["errors"][0]["part"]) == (422, "query/limit")


def test_an_unknown_state_is_refused(client: TestClient) -> None:
    answer = client.get("/v1/models", params={"status": "pending"})
    assert (answer.status_code, answer.json()["errors"][0]["part"]) == (422, "query/status")


def test_a_rejected_model_says_why_and_what_to_do(client: TestClient, add_model: AddModel) -> None:
    row = add_model(
        ModelStatus.REJECTED, reason="a pickle", reason_code="full-pickle", recipe="save it anew"
    )
    record = client.get(f"/v1/models/{row.id}").json()
    assert (record["reason"], record["reason_code"], record["recipe"]) == (
        "a pickle",
        "full-pickle",
        "save it anew",
    )


def test_a_withdrawn_model_stays_listed_and_cannot_be_withdrawn_again(
    client: TestClient, add_model: AddModel
) -> None:
    row = add_model()
    answer = client.delete(f"/v1/models/{row.id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "withdrawn")
    again = client.delete(f"/v1/models/{row.id}")
    assert (again.status_code, again.json()["code"]) == (409, "model-in-use")
    assert client.get(f"/v1/models/{row.id}").json()["status"] == "withdrawn"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_model_is_not_found(client: TestClient, method: str) -> None:
    answer = client.request(method, "/v1/models/mdl_nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "model-not-found")


# Pools.


def test_a_pool_is_made_once_and_counts_its_models_by_state(
    client: TestClient, add_model: AddModel
) -> None:
    made = client.post("/v1/pools", json={"name": "ward-3", "description": "of ward 3"})
    assert (made.status_code, made.json()["models"]) == (201, {})
    again = client.post("/v1/pools", json={"name": "ward-3"})
    assert (again.status_code, again.json()["code"]) == (409, "pool-exists")
    add_model(), add_model(), add_model(ModelStatus.REJECTED)
    pools = client.get("/v1/pools").json()["items"]
    assert [(pool["name"], pool["models"]) for pool in pools] == [
        ("default", {"ready": 2, "rejected": 1}),
        ("ward-3", {}),
    ]


@pytest.mark.parametrize("name", ["", "p" * 101, "-leading", "a/b", "a\nb", "a\n", "a\x00"])
def test_a_pool_of_a_strange_name_is_refused(client: TestClient, name: str) -> None:
    answer = client.post("/v1/pools", json={"name": name})
    assert (answer.status_code, answer.json()["errors"][0]["part"]) == (422, "body/name")


@pytest.mark.parametrize("name", ["ward 3", "größe.2", "x", "a_b-c"])
def test_a_pool_of_an_ordinary_name_is_made(client: TestClient, name: str) -> None:
    assert client.post("/v1/pools", json={"name": name}).status_code == 201
