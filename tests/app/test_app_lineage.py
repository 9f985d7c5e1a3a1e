"""What was made of a model, told before it is withdrawn."""

from collections.abc import Callable

import pytest
from sqlalchemy import delete
from starlette.testclient import TestClient

from pool.database import jobs
from pool.database.access_tables import PoolMemberRow
from pool.database.session import Database
from pool.database.tables import BuildRow, MetaLearnerRow, ModelRow, PoolRow
from pool.domain import ENSEMBLE, ModelStatus
from pool.roles import Role


@pytest.fixture
def become(database: Database, pool_row: PoolRow) -> Callable[..., None]:
    """Let the organisation be nothing but this in the pool."""

    def become(*roles: Role) -> None:
        member = {"pool_id": pool_row.id, "organisation_id": pool_row.organisation_id}
        with database.write() as session:
            session.execute(delete(PoolMemberRow))
            session.add_all(PoolMemberRow(**member, role=role) for role in roles)

    return become


def test_it_foretells_what_withdrawing_the_model_does(
    client: TestClient,
    add_model: Callable[..., ModelRow],
    add_build: Callable[..., BuildRow],
    add_meta_learner: Callable[..., MetaLearnerRow],
) -> None:
    model, other = add_model(), add_model()
    waiting, elsewhere = add_build(other, model), add_build(other)
    learner, ensemble = add_meta_learner(model), add_meta_learner(model, backbone=ENSEMBLE)
    add_meta_learner(other)
    told = client.get(f"/v1/models/{model.id}/lineage").json()
    would_end = {each["id"] for each in told["builds"] if each["would_end"]}
    becomes = {each["id"]: each["would_become"] for each in told["meta_learners"]}
    assert becomes == {learner.id: "tainted", ensemble.id: "retired"}
    assert told["is_whole"] is True
    assert client.delete(f"/v1/models/{model.id}").status_code == 200
    ended = {
        each["id"]
        for each in client.get("/v1/builds").json()["items"]
        if each["status"] == "canceled"
    }
    assert waiting.id in would_end
    assert elsewhere.id not in would_end
    assert ended == would_end
    for learner_id, status in becomes.items():
        assert client.get(f"/v1/meta-learners/{learner_id}").json()["status"] == status
    after = client.get(f"/v1/models/{model.id}/lineage").json()
    assert {each["would_become"] for each in after["meta_learners"]} == {None}
    assert {each["would_end"] for each in after["builds"]} == {False}


def test_a_build_that_has_ended_is_not_touched(
    client: TestClient,
    database: Database,
    add_model: Callable[..., ModelRow],
    add_build: Callable[..., BuildRow],
) -> None:
    model = add_model()
    build = add_build(model)
    with database.write() as session:
        assert jobs.cancel(session, build.job_id)
    (told,) = client.get(f"/v1/models/{model.id}/lineage").json()["builds"]
    assert (told["status"], told["would_end"]) == ("canceled", False)


def test_a_contributor_hears_that_its_roles_show_neither(
    client: TestClient,
    add_model: Callable[..., ModelRow],
    add_meta_learner: Callable[..., MetaLearnerRow],
    become: Callable[..., None],
) -> None:
    model = add_model()
    add_meta_learner(model)
    become(Role.CONTRIBUTOR)
    told = client.get(f"/v1/models/{model.id}/lineage").json()
    assert told == {
        "model_id": model.id,
        "builds": None,
        "meta_learners": None,
        "is_whole": False,
    }


def test_a_model_in_no_build_has_made_nothing(
    client: TestClient, add_model: Callable[..., ModelRow]
) -> None:
    model = add_model(ModelStatus.READY)
    told = client.get(f"/v1/models/{model.id}/lineage").json()
    assert (told["builds"], told["meta_learners"], told["is_whole"]) == ([], [], True)


def test_more_than_an_answer_holds_is_cut_and_said_so(
    client: TestClient,
    add_model: Callable[..., ModelRow],
    add_build: Callable[..., BuildRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.routes.lineage.MOST", 2)
    model = add_model()
    builds = [add_build(model) for _ in range(3)]
    told = client.get(f"/v1/models/{model.id}/lineage").json()
    assert [each["id"] for each in told["builds"]] == [builds[2].id, builds[1].id]
    assert told["is_whole"] is False
