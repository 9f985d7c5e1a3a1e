"""Resuming a build that ended without a result: who may, when, and what it becomes."""

import io
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from sqlalchemy import update
from starlette.testclient import TestClient

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import BuildRow, JobRow, ModelRow
from pool.domain import JobStatus, ModelStatus
from pool.storage.store import build_state_key


@pytest.fixture
def stopped(
    app: FastAPI,
    database: Database,
    add_model: Callable[..., ModelRow],
    add_build: Callable[..., BuildRow],
) -> Callable[..., BuildRow]:
    """A build over two models that ended, and of which a state is saved."""

    def make(status: JobStatus = JobStatus.CANCELED, *, is_saved: bool = True) -> BuildRow:
        build = add_build(add_model(), add_model())
        with database.write() as session:
            session.execute(update(JobRow).where(JobRow.id == build.job_id).values(status=status))
        if is_saved:
            app.state.store.put(build_state_key(build.id), io.BytesIO(b"state"), 5)
        return build

    return make


@pytest.mark.parametrize("status", [JobStatus.CANCELED, JobStatus.FAILED])
def test_it_becomes_another_build_over_the_same_snapshot_by_the_same_recipe(
    client: TestClient, stopped: Callable[..., BuildRow], database: Database, status: JobStatus
) -> None:
    before = stopped(status)
    answer = client.post(f"/v1/builds/{before.id}/resume")
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert told["id"] != before.id
    assert (told["status"], told["resumed_from"]) == ("queued", before.id)
    for field in ("recipe", "seed", "n_models", "pool"):
        assert told[field] == client.get(f"/v1/builds/{before.id}").json()[field]
    with database.read() as session:
        snapshots = [
            [(each.position, each.model_id, each.canonical_sha256) for each in row.snapshot]
            for row in (session.get_one(BuildRow, id_) for id_ in (before.id, told["id"]))
        ]
    assert snapshots[0] == snapshots[1] != []
    assert client.get(f"/v1/builds/{before.id}").json()["status"] == status


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED])
def test_a_build_under_way_or_done_is_not_resumed(
    client: TestClient, stopped: Callable[..., BuildRow], status: JobStatus
) -> None:
    refused = client.post(f"/v1/builds/{stopped(status).id}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "build-not-resumable")
    assert status in refused.json()["detail"]


def test_without_a_saved_state_the_refusal_says_what_to_do(
    client: TestClient, stopped: Callable[..., BuildRow]
) -> None:
    refused = client.post(f"/v1/builds/{stopped(is_saved=False).id}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "build-not-resumable")
    assert "POST /v1/builds" in refused.json()["detail"]


def test_a_resumed_build_that_ended_before_it_saved_is_resumed_from_the_one_before(
    client: TestClient, stopped: Callable[..., BuildRow], database: Database
) -> None:
    first = stopped()
    second = client.post(f"/v1/builds/{first.id}/resume").json()["id"]
    with database.write() as session:
        assert jobs.cancel(session, session.get_one(BuildRow, second).job_id)
    third = client.post(f"/v1/builds/{second}/resume")
    assert third.status_code == 202, third.text
    assert third.json()["resumed_from"] == first.id


def test_a_build_over_a_model_that_is_withdrawn_since_is_not_resumed(
    client: TestClient, stopped: Callable[..., BuildRow], database: Database
) -> None:
    build = stopped()
    with database.write() as session:
        session.execute(update(ModelRow).values(status=ModelStatus.WITHDRAWN))
    refused = client.post(f"/v1/builds/{build.id}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "no-usable-models")


def test_sent_twice_under_one_key_it_resumes_once(
    client: TestClient, stopped: Callable[..., BuildRow]
) -> None:
    build = stopped()
    answers = [
        client.post(f"/v1/builds/{build.id}/resume", headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert len(client.get("/v1/builds").json()["items"]) == 2
