"""Organisations share a pool over HTTP: members come, see what their roles show, and go."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pool import organisations
from pool.database.session import Database
from pool.database.tables import MetaLearnerRow, ModelRow
from pool.domain import ModelStatus, new_id
from pool.roles import PERMITS, Role
from pool.settings import Settings
from pool.usecases.organisations import add_organisation, create_admin_key

CARD = {"id", "mine", "name", "pool", "backbone", "status", "image_size", "channels", "domain"}
Member = Callable[..., TestClient]


@pytest.fixture
def member(app: FastAPI, database: Database, client: TestClient) -> Member:
    """The admin of a new organisation, with these roles in the pool named default."""

    def make(*roles: Role) -> TestClient:
        with database.write() as session:
            organisation = add_organisation(session, new_id("ward"))
            key = create_admin_key(session, organisation.id)
        if roles:
            path = f"/v1/pools/default/members/{organisation.id}"
            assert client.put(path, json={"roles": roles}).status_code == 200
        bearer = {"Authorization": f"Bearer {key}"}
        return TestClient(app, raise_server_exceptions=False, headers=bearer)

    return make


def shared_pool(client: TestClient) -> str:
    """The id of the pool that the bootstrapped organisation shares."""
    pools = client.get("/v1/pools").json()["items"]
    return str(next(pool["id"] for pool in pools if "owner" in pool["roles"]))


def upload(client: TestClient, manifest: dict[str, Any], pool: str, data: bytes) -> Any:
    return client.post(
        "/v1/models",
        data={"manifest": json.dumps(manifest | {"pool": pool, "description": "of ward 3"})},
        files={"checkpoint": ("m", data)},
    )


def test_an_organisation_joins_contributes_and_leaves_and_takes_its_model_along(
    client: TestClient, member: Member, manifest: dict[str, Any]
) -> None:
    other, pool = member(Role.CONTRIBUTOR), shared_pool(client)
    seen = {each["id"]: each["roles"] for each in other.get("/v1/pools").json()["items"]}
    assert seen[pool] == ["contributor"]
    made = upload(other, manifest, pool, b"theirs").json()
    assert (made["pool"], made["mine"]) == ("default", True)
    whole = client.get(f"/v1/models/{made['id']}").json()
    assert (whole["mine"], whole["class_names"]) == (False, manifest["class_names"])
    organisation_id = other.get("/v1/usage").json()["organisation_id"]
    assert whole["organisation_id"] == organisation_id
    assert other.delete(f"/v1/pools/{pool}/members/{organisation_id}").status_code == 204
    assert upload(other, manifest, pool, b"more").json()["code"] == "pool-not-found"
    gone = other.delete(f"/v1/models/{made['id']}")
    assert (gone.status_code, gone.json()["status"]) == (200, "withdrawn")


@pytest.mark.parametrize("role", [Role.CONTRIBUTOR, Role.BUILDER, Role.AUDITOR])
def test_of_other_members_models_a_member_sees_a_card_and_nothing_else(
    client: TestClient, member: Member, manifest: dict[str, Any], role: Role
) -> None:
    secret = {"class_names": ["a private word", "b"], "training_data_note": "a private word"}
    model_id = upload(client, manifest | secret, "default", b"ours").json()["id"]
    other = member(role)
    found = other.get(f"/v1/models/{model_id}")
    listed = other.get("/v1/models").json()["items"]
    assert listed == [found.json()]
    shown = {name for name, value in found.json().items() if value is not None}
    assert shown == (CARD | {"created_at"}) - {"domain"}
    assert "private" not in found.text


def test_the_reliability_of_a_model_is_on_its_card_and_goes_with_its_weights(
    client: TestClient, member: Member, add_model: Callable[..., ModelRow]
) -> None:
    model = add_model(reliability=0.834)
    other = member(Role.CONTRIBUTOR)
    found = other.get(f"/v1/models/{model.id}").json()
    assert (found["mine"], found["reliability"], found["class_names"]) == (False, 0.834, None)
    assert [each["reliability"] for each in other.get("/v1/models").json()["items"]] == [0.834]
    assert client.get(f"/v1/models/{model.id}").json()["reliability"] == 0.834
    consumer = member(Role.CONSUMER).get(f"/v1/models/{model.id}")
    assert (consumer.status_code, "0.834" in consumer.text) == (403, False)
    assert client.delete(f"/v1/models/{model.id}").json()["reliability"] is None


def test_the_bytes_of_another_members_model_are_not_taken_twice_and_tell_nothing_of_it(
    client: TestClient, member: Member, manifest: dict[str, Any]
) -> None:
    model_id = upload(client, manifest, "default", b"the same").json()["id"]
    other = member(Role.CONTRIBUTOR)
    answer = upload(other, manifest, shared_pool(client), b"the same")
    assert (answer.status_code, answer.json()["code"]) == (409, "contributed-already")
    assert model_id not in answer.text


def test_a_consumer_asks_and_sees_of_the_lineage_only_what_is_its_own(
    client: TestClient,
    member: Member,
    add_model: Callable[..., ModelRow],
    add_meta_learner: Callable[..., MetaLearnerRow],
    encode: Callable[..., bytes],
) -> None:
    consumer = member(Role.CONSUMER)
    mine = consumer.get("/v1/usage").json()["organisation_id"]
    models = [add_model(), add_model(organisation_id=mine)]
    learner = add_meta_learner(*models)
    record = consumer.get(f"/v1/meta-learners/{learner.id}").json()
    assert record["model_ids"] == [models[1].id]
    files = [
        ("support", ("s", encode(0))),
        ("support", ("s", encode(1))),
        ("query", ("q", encode(2))),
    ]
    path = f"/v1/meta-learners/{learner.id}/predictions"
    answers = {
        role: who.post(path, data={"labels": ["a", "b"]}, files=files).status_code
        for role, who in {None: member(), **{role: member(role) for role in Role}}.items()
    }
    assert answers == {None: 404} | dict.fromkeys(Role, 403) | {
        Role.OWNER: 200,
        Role.CONSUMER: 200,
    }


def test_a_rejected_models_reason_is_for_its_contributor_and_for_curators(
    client: TestClient, member: Member, add_model: Callable[..., ModelRow]
) -> None:
    row = add_model(ModelStatus.REJECTED, reason="a pickle", reason_code="x", recipe="save anew")
    assert member(Role.CURATOR).get(f"/v1/models/{row.id}").json()["reason"] == "a pickle"
    assert member(Role.AUDITOR).get(f"/v1/models/{row.id}").json()["reason"] is None


@pytest.mark.parametrize("roles", [[], ["king"], "owner", None])
def test_roles_that_do_not_exist_are_refused(client: TestClient, roles: object) -> None:
    answer = client.put("/v1/pools/default/members/org_x", json={"roles": roles})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


def test_no_answer_but_an_export_carries_bytes_so_no_checkpoint_can_be_downloaded(
    app: FastAPI,
) -> None:
    """And tests/app/test_app_exports.py: none exports a pool's own models; tensors are answers."""
    told = {"application/json", "application/problem+json", "text/event-stream"}
    kinds = {
        kind
        for path, operations in app.openapi()["paths"].items()
        if not path.endswith(("/export", "/infer"))
        for operation in operations.values()
        for answer in operation["responses"].values()
        for kind in answer.get("content", {})
    }
    assert kinds <= told


def test_an_operator_makes_an_organisation_whose_key_works_and_is_shown_once(
    app: FastAPI,
    settings: Settings,
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODELPOOL_VAR", str(settings.var_dir))
    assert organisations.main(["add", "North ward"]) == 0
    printed = capsys.readouterr().out
    (key,) = (word for word in printed.split() if word.startswith("mp_"))
    other = TestClient(app, headers={"Authorization": f"Bearer {key}"})
    assert [pool["name"] for pool in other.get("/v1/pools").json()["items"]] == ["default"]
    assert other.get("/v1/usage").json()["organisation_id"] in printed
    assert organisations.main(["add", "North ward"]) == 1
    assert organisations.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "North ward" in listed
    assert "mp_" not in listed
    for name in (" ", "a\nb", "a" * 201):
        with pytest.raises(SystemExit):
            organisations.main(["add", name])


def test_the_access_page_shows_the_table_of_the_code() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "ACCESS.md").read_text()
    for action, roles in PERMITS.items():
        ticks = " | ".join("yes" if role in roles else "" for role in Role)
        assert f"| {action} | {ticks} |" in page
