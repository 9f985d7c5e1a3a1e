"""Names that point at meta-learners: asked by, moved, removed, and what they remember."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from pool.database.session import Database
from pool.database.tables import MetaLearnerRow, ModelRow, PoolRow
from pool.domain import ENSEMBLE, MetaLearnerStatus, new_id
from pool.usecases.members import found_pool

AddMetaLearner = Callable[..., MetaLearnerRow]
PATH = "/v1/pools/default/aliases/production"


@pytest.fixture
def point(client: TestClient) -> Callable[..., Any]:
    """Point the alias at a meta-learner."""

    def put(learner: MetaLearnerRow | str, **fields: Any) -> Any:
        target = learner if isinstance(learner, str) else learner.id
        return client.put(PATH, json={"meta_learner_id": target, **fields})

    return put


def test_whoever_asks_by_an_alias_asks_where_it_points_now(
    client: TestClient,
    point: Callable[..., Any],
    ask: Callable[..., Any],
    encode: Callable[..., bytes],
    add_meta_learner: AddMetaLearner,
) -> None:
    support = [(label, encode(number)) for number, label in enumerate("ab")]
    for learner in (add_meta_learner(), add_meta_learner()):
        moved = point(learner)
        assert moved.status_code == 200, moved.text
        address = moved.json()["address"]
        assert address == "default@production"
        answer = ask(address, support, [encode(1)])
        assert answer.json()["meta_learner_id"] == learner.id
        assert answer.json()["predictions"][0]["label"] == "b"
        kept = client.post(
            f"/v1/meta-learners/{address}/adaptations",
            data={"labels": ["a", "b"]},
            files=[("support", ("s", image)) for _, image in support],
        )
        assert kept.json()["meta_learner_id"] == learner.id
        assert client.get(f"/v1/meta-learners/{address}/export").status_code == 200
        record = client.get(f"/v1/meta-learners/{address}").json()
        assert (record["id"], record["aliases"]) == (learner.id, ["production"])
    listed = client.get("/v1/meta-learners").json()["items"]
    assert {row["id"]: row["aliases"] for row in listed}[learner.id] == ["production"]
    assert sum(len(row["aliases"]) for row in listed) == 1


def test_its_history_says_where_it_pointed_when_and_why(
    client: TestClient,
    point: Callable[..., Any],
    add_meta_learner: AddMetaLearner,
    pool_row: PoolRow,
) -> None:
    first, second = add_meta_learner(), add_meta_learner()
    point(first, note="the first")
    point(first, note="it points there already")
    point(second, note="better on ward 3")
    assert client.delete(PATH).status_code == 204
    told = client.get(PATH).json()
    assert (told["meta_learner_id"], told["n_moves"]) == (None, 3)
    assert [(move["seq"], move["meta_learner_id"], move["note"]) for move in told["moves"]] == [
        (3, None, None),
        (2, second.id, "better on ward 3"),
        (1, first.id, "the first"),
    ]
    assert {move["by_organisation_id"] for move in told["moves"]} == {pool_row.organisation_id}
    assert client.get("/v1/pools/default/aliases").json()["items"] == []
    audit = client.get("/v1/audit").json()["items"]
    moves = [event["detail"] for event in audit if event["action"] == "alias-moved"]
    assert moves == [None, second.id, first.id]


def test_removed_it_answers_nobody_and_can_be_used_again(
    client: TestClient, point: Callable[..., Any], add_meta_learner: AddMetaLearner
) -> None:
    learner = add_meta_learner()
    point(learner)
    client.delete(PATH)
    gone = client.get("/v1/meta-learners/default@production")
    assert (gone.status_code, gone.json()["code"]) == (404, "meta-learner-not-found")
    assert "aliases" in gone.json()["detail"]
    assert client.delete(PATH).status_code == 204
    assert point(learner).json()["n_moves"] == 3
    never = client.delete("/v1/pools/default/aliases/never")
    assert (never.status_code, never.json()["code"]) == (404, "alias-not-found")


def test_a_move_that_expects_another_place_is_refused_and_moves_nothing(
    client: TestClient, point: Callable[..., Any], add_meta_learner: AddMetaLearner
) -> None:
    first, second, third = (add_meta_learner() for _ in range(3))
    assert point(first, expected_meta_learner_id=None).status_code == 200
    assert point(second, expected_meta_learner_id=first.id).status_code == 200
    late = point(third, expected_meta_learner_id=first.id)
    assert (late.status_code, late.json()["code"]) == (409, "alias-moved")
    assert second.id in late.json()["detail"]
    assert point(third, expected_meta_learner_id=None).status_code == 409
    assert client.get(PATH).json()["meta_learner_id"] == second.id


def test_it_points_at_nothing_that_is_not_there_to_be_asked(
    client: TestClient,
    point: Callable[..., Any],
    add_meta_learner: AddMetaLearner,
    database: Database,
    pool_row: PoolRow,
) -> None:
    retired, elsewhere = add_meta_learner(), add_meta_learner()
    with database.write() as session:
        other = PoolRow(id=new_id("pol"), organisation_id=pool_row.organisation_id, name="other")
        session.add(other)
        session.flush()
        found_pool(session, other)
        for row, change in (
            (retired, {"status": MetaLearnerStatus.RETIRED}),
            (elsewhere, {"pool_id": other.id}),
        ):
            by_id = update(MetaLearnerRow).where(MetaLearnerRow.id == row.id)
            session.execute(by_id.values(change))
    assert point(retired).json()["code"] == "meta-learner-retired"
    for target in (elsewhere.id, "ml_none", "default@production"):
        answer = point(target)
        assert (answer.status_code, answer.json()["code"]) == (404, "meta-learner-not-found")
    assert client.get(PATH).json()["code"] == "alias-not-found"
    in_its_pool = {"meta_learner_id": elsewhere.id}
    assert client.put("/v1/pools/other/aliases/production", json=in_its_pool).status_code == 200
    gone = client.get("/v1/meta-learners/default@production")
    assert gone.json()["code"] == "meta-learner-not-found"
    assert client.get("/v1/meta-learners/other@production").json()["id"] == elsewhere.id


@pytest.mark.parametrize("name", ["Production", "a b", "@", "-x", "x" * 101])
def test_a_name_that_could_be_misread_is_refused(
    client: TestClient, add_meta_learner: AddMetaLearner, name: str
) -> None:
    order = {"meta_learner_id": add_meta_learner().id}
    answer = client.put(f"/v1/pools/default/aliases/{name}", json=order)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


@pytest.mark.parametrize("address", ["nowhere@production", "default@none", "@", "a@b@c"])
def test_an_address_that_leads_nowhere_is_not_found(client: TestClient, address: str) -> None:
    answer = client.get(f"/v1/meta-learners/{address}")
    assert (answer.status_code, answer.json()["code"]) == (404, "meta-learner-not-found")


def test_lineage_says_by_which_names_a_withdrawal_would_be_noticed(
    client: TestClient,
    point: Callable[..., Any],
    add_model: Callable[..., ModelRow],
    add_meta_learner: AddMetaLearner,
) -> None:
    model = add_model()
    named, unnamed = add_meta_learner(model, backbone=ENSEMBLE), add_meta_learner(model)
    point(named)
    told = client.get(f"/v1/models/{model.id}/lineage").json()["meta_learners"]
    assert {each["id"]: each["aliases"] for each in told} == {
        named.id: ["production"],
        unnamed.id: [],
    }
    client.delete(f"/v1/models/{model.id}")
    answer = client.get("/v1/meta-learners/default@production/export")
    assert (answer.status_code, answer.json()["code"]) == (410, "meta-learner-retired")
