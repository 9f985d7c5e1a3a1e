"""Models are searched by the beginning of their name, filtered and ordered, by who may see them."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.paging import MAX_CURSOR_CHARS, encode_cursor
from pool.database import paging
from pool.database.names import after_prefix, name_key
from pool.database.paging import Order, Wanted
from pool.database.session import Database
from pool.database.tables import ModelRow
from pool.domain import ModelStatus
from pool.roles import Role
from pool.usecases.organisations import add_organisation, create_admin_key

AddModel = Callable[..., ModelRow]


def names(client: TestClient, **params: Any) -> list[str]:
    """Of one page."""
    answer = client.get("/v1/models", params=params)
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()["items"]]


def test_a_search_finds_what_begins_so_in_capitals_or_not_in_the_order_of_names(
    client: TestClient, add_model: AddModel
) -> None:
    for name in ("ward 3", "Ward 2", "WARD 10", "a ward", "war", "50%_x"):
        add_model(name=name)
    assert names(client, q="wARD") == ["WARD 10", "Ward 2", "ward 3"]
    assert names(client, q="war") == ["war", "WARD 10", "Ward 2", "ward 3"]
    assert names(client, q="ward 3") == ["ward 3"]
    assert names(client, q="%") == names(client, q="50__") == []
    assert names(client, q="50%_") == ["50%_x"]


def test_the_list_is_ordered_by_name_when_asked(client: TestClient, add_model: AddModel) -> None:
    for name in ("b", "C", "a"):
        add_model(name=name)
    assert names(client, order="name") == ["a", "b", "C"]
    assert names(client, order="newest") == names(client) == ["a", "C", "b"]


def test_filters_apply_together(client: TestClient, add_model: AddModel) -> None:
    add_model(name="one", backbone="conv4", domain="skin")
    add_model(name="two", backbone="resnet18", domain="skin")
    add_model(ModelStatus.REJECTED, name="three", backbone="conv4", domain="skin")
    add_model(name="four", backbone="conv4", domain=None)
    assert names(client, domain="skin") == ["three", "two", "one"]
    assert names(client, domain="skin", backbone="conv4") == ["three", "one"]
    assert names(client, domain="skin", backbone="conv4", status="ready") == ["one"]
    assert names(client, q="t", backbone="conv4", pool="default") == ["three"]
    assert names(client, backbone="resnet10") == []


def test_a_search_newest_first_is_refused_with_what_to_do(client: TestClient) -> None:
    answer = client.get("/v1/models", params={"q": "w", "order": "newest"})
    assert (answer.status_code, answer.json()["errors"][0]["part"]) == (422, "query/order")


@pytest.mark.parametrize(
    "params",
    [{"q": ""}, {"q": "x" * 201}, {"q": "a\x00"}, {"domain": "\x00"}, {"backbone": "b" * 61},
     {"pool": "\x00"}, {"order": "oldest"}],
)  # fmt: skip
def test_a_search_that_cannot_be_asked_is_refused_where_it_is_wrong(
    client: TestClient, params: dict[str, str]
) -> None:
    answer = client.get("/v1/models", params=params)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["part"] == f"query/{next(iter(params))}"


def test_a_cursor_goes_on_only_in_the_list_it_came_from(
    client: TestClient, add_model: AddModel
) -> None:
    for name in ("ward 1", "ward 2", "ward 3"):
        add_model(name=name, domain="skin")
    lists: list[dict[str, Any]] = [
        {"order": "name"}, {"q": "ward"}, {"q": "war"}, {"domain": "skin"}, {"status": "ready"},
        {"pool": "default"}, {},
    ]  # fmt: skip
    for params in lists:
        cursor = client.get("/v1/models", params={"limit": 1, **params}).json()["next_cursor"]
        for others in lists:
            answer = client.get("/v1/models", params={"cursor": cursor, **others})
            if others == params:
                assert len(answer.json()["items"]) == 2
            else:
                assert answer.status_code == 422, (params, others)
                assert "other filters" in answer.json()["detail"]


def test_the_longest_name_of_the_widest_letters_fits_into_a_cursor(
    client: TestClient, add_model: AddModel
) -> None:
    wide = "\U0001f600" * 200
    for name in (wide, "İ" * 200, "z"):
        add_model(name=name)
    seen, cursor = [], None
    while cursor is not None or not seen:
        params = {"order": "name", "limit": 1} | ({"cursor": cursor} if cursor else {})
        page = client.get("/v1/models", params=params).json()
        seen += [each["name"] for each in page["items"]]
        cursor = page["next_cursor"]
        assert len(cursor or "") <= MAX_CURSOR_CHARS
    assert sorted(seen) == sorted([wide, "İ" * 200, "z"])


@pytest.mark.parametrize("key", ["a\x00", "\ud800", 7, None, "x" * 201, ["a"]])
def test_a_forged_cursor_is_refused_before_a_database_is_asked(
    client: TestClient, key: Any
) -> None:
    wanted = Wanted(order=Order.NAME)
    good = encode_cursor(("a", "mdl_1"), wanted)
    assert good is not None
    _, record_id, *of = json.loads(base64.urlsafe_b64decode(good))
    for forged in ([key, record_id, *of], ["a", key, *of]):
        cursor = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode()
        answer = client.get("/v1/models", params={"order": "name", "cursor": cursor})
        assert (answer.status_code, answer.json()["errors"][0]["part"]) == (422, "query/cursor")


def test_what_an_organisation_may_not_see_no_search_finds(
    app: FastAPI, client: TestClient, database: Database, add_model: AddModel
) -> None:
    secret = add_model(name="secret", domain="rare", backbone="resnet10")
    searches: list[dict[str, Any]] = [
        {}, {"q": "sec"}, {"order": "name"}, {"domain": "rare"}, {"backbone": "resnet10"},
        {"status": "ready"}, {"pool": secret.pool_id}, {"pool": secret.pool_id, "q": "secret"},
    ]  # fmt: skip
    for roles, sees in (([], False), ([Role.CONSUMER], False), ([Role.BUILDER], True)):
        with database.write() as session:
            organisation = add_organisation(session, f"with {roles}")
            key = create_admin_key(session, organisation.id)
        if roles:
            path = f"/v1/pools/default/members/{organisation.id}"
            assert client.put(path, json={"roles": roles}).status_code == 200
        other = TestClient(app, headers={"Authorization": f"Bearer {key}"})
        for search in searches:
            answer = other.get("/v1/models", params=search)
            if not roles and "pool" in search:
                assert answer.status_code == 404
            else:
                found = [each["name"] for each in answer.json()["items"]]
                assert found == (["secret"] if sees else []), (roles, search)


def test_a_page_that_finds_nothing_says_that_the_list_goes_on(
    client: TestClient, add_model: AddModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "WINDOW", 4)
    add_model(name="a", domain="skin", backbone="resnet10")
    for _ in range(9):
        add_model(domain="skin")
    params: dict[str, Any] = {"domain": "skin", "backbone": "resnet10"}
    first = client.get("/v1/models", params=params).json()
    assert (first["items"], first["next_cursor"] is None) == ([], False)
    pages = [first]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(client.get("/v1/models", params={**params, "cursor": cursor}).json())
    assert [item["name"] for page in pages for item in page["items"]] == ["a"]


@pytest.mark.parametrize(
    ("prefix", "end"),
    [("a", "b"), ("az", "a{"), ("a\U0010ffff", "b"), ("\U0010ffff", None), ("\ud7ff", "\ue000")],
)
def test_the_end_of_a_prefix_is_the_next_text_in_the_order_of_code_points(
    prefix: str, end: str | None
) -> None:
    assert after_prefix(prefix) == end


def test_names_are_folded_alike_and_kept_short() -> None:
    assert name_key("Straße") == name_key("STRASSE") == "strasse"
    assert len(name_key("ß" * 200)) == 200
