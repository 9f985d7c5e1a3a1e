"""Builds: ordered, refused with the reason, canceled once, followed as a stream of events."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import BuildRow, JobEventRow, JobRow, MetaLearnerRow, ModelRow
from pool.domain import JobRun, JobStatus, ModelStatus

AddModel = Callable[..., ModelRow]
AddBuild = Callable[..., BuildRow]


def order(client: TestClient, **changed: Any) -> Any:
    recipe = {"algorithm": "free", "config": {"preset": "small"}}
    body = json.dumps({"recipe": recipe} | changed)  # may hold NaN, which httpx refuses to send
    return client.post("/v1/builds", content=body, headers={"Content-Type": "application/json"})


def test_a_build_over_the_pool_is_queued(client: TestClient, add_model: AddModel) -> None:
    add_model(), add_model()
    answer = order(client, seed=7)
    assert answer.status_code == 202
    record = answer.json()
    assert (record["status"], record["progress"], record["n_models"]) == ("queued", 0.0, 2)
    assert (record["pool"], record["seed"]) == ("default", 7)
    assert record["recipe"] == {"algorithm": "free", "config": {"preset": "small"}}
    assert client.get(f"/v1/builds/{record['id']}").json() == record


def test_a_build_needs_no_words_at_all(client: TestClient, add_model: AddModel) -> None:
    add_model(), add_model()
    answer = client.post("/v1/builds", json={})
    assert (answer.status_code, answer.json()["recipe"]["algorithm"]) == (202, "multi_teacher")


def test_a_pool_without_enough_models_conflicts_and_says_so(
    client: TestClient, add_model: AddModel
) -> None:
    add_model(), add_model(ModelStatus.RECEIVED), add_model(ModelStatus.REJECTED)
    answer = order(client)
    assert (answer.status_code, answer.json()["code"]) == (409, "no-usable-models")
    assert "offers 1 (1 awaiting inspection, 1 rejected)" in answer.json()["detail"]


def test_an_unknown_pool_or_model_is_not_found(client: TestClient, add_model: AddModel) -> None:
    assert order(client, pool="nowhere").json()["code"] == "pool-not-found"
    answer = order(client, models=[add_model().id, "mdl_nothing"])
    assert (answer.status_code, answer.json()["code"]) == (404, "model-not-found")


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"algorithm": "magic"}, "free"),
        ({"config": {"no_such_setting": 1}}, "no_such_setting"),
        ({"config": {"n_way": 1}}, "n_way"),
        ({"config": {"n_way": "five"}}, "n_way"),
        ({"config": {"preset": "gigantic"}}, "preset"),
        ({"config": {"preset": ["small"]}}, "preset"),
        ({"config": {"inner_lr": float("nan")}}, "inner_lr"),
        ({"config": {"inner_lr": float("inf")}}, "inner_lr"),
        ({"config": {"inner_lr": 10**400}}, "inner_lr"),
        ({"config": {"n_way": None}}, "n_way"),
        ({"config": {"distillation": {"kind": "kl"}}}, "distillation"),
    ],
)
def test_a_recipe_that_cannot_run_is_refused_with_what_is_wrong(
    client: TestClient, add_model: AddModel, recipe: dict[str, Any], says: str
) -> None:
    add_model(), add_model()
    answer = order(client, recipe=recipe)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-recipe")
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("body/seed", {"seed": -1}),
        ("body/seed", {"seed": 2**31}),
        ("body/models/0", {"models": [7]}),
        ("body/gpu", {"gpu": True}),
        ("body/recipe/steps", {"recipe": {"steps": 3}}),
    ],
)
def test_a_wrong_order_is_refused_by_part(
    client: TestClient, part: str, changed: dict[str, Any]
) -> None:
    answer = order(client, **changed)
    assert (answer.status_code, answer.json()["errors"][0]["part"]) == (422, part)


def test_a_queued_build_is_canceled_once(client: TestClient, add_build: AddBuild) -> None:
    path = f"/v1/builds/{add_build().id}/cancel"
    canceled = client.post(path)
    assert (canceled.status_code, canceled.json()["status"]) == (202, "canceled")
    again = client.post(path)
    assert (again.status_code, again.json()["code"]) == (409, "build-finished")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/cancel"), ("GET", "/events")])
def test_an_unknown_build_is_not_found(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, f"/v1/builds/bld_nothing{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "build-not-found")
    assert answer.headers["content-type"] == "application/problem+json"


# Events.


def record(database: Database, run: JobRun, *steps: int) -> None:
    with database.write() as session:
        for step in steps:
            jobs.record(session, run, "progress", {"step": step, "metrics": {"loss": 0.5}})


def finish(database: Database, run: JobRun) -> None:
    with database.write() as session:
        jobs.finish(session, run, JobStatus.SUCCEEDED)


def follow(client: TestClient, build_id: str, **headers: str) -> list[tuple[int, str, Any]]:
    """(id, event, data) of each event, until the stream ends."""
    answer = client.get(f"/v1/builds/{build_id}/events", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in answer.text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            fields = dict(line.split(": ", 1) for line in lines)
            events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return events


def test_a_finished_builds_story_is_told_from_its_beginning_and_ends(
    client: TestClient, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    record(database, run, 1, 2)
    finish(database, run)
    events = follow(client, build_id)
    assert [(number, kind) for number, kind, _ in events] == [
        (1, "progress"),
        (2, "progress"),
        (3, "status"),
    ]
    assert events[0][2]["step"] == 1
    assert events[0][2]["metrics"] == {"loss": 0.5}
    assert events[0][2]["at"].endswith("+00:00")
    assert events[2][2]["status"] == "succeeded"


def test_a_stream_is_resumed_behind_the_last_event_seen(
    client: TestClient, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    record(database, run, 1, 2, 3)
    finish(database, run)
    found = follow(client, build_id, **{"Last-Event-ID": "2"})
    assert [number for number, _, _ in found] == [3, 4]
    assert follow(client, build_id, **{"Last-Event-ID": "4"}) == []


def test_a_stream_goes_on_with_what_happens_until_the_build_is_over(
    client: TestClient, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    record(database, run, 1)

    def work() -> None:
        record(database, run, 2)
        record(database, run, 3)
        finish(database, run)

    worker = threading.Timer(0.3, work)
    worker.start()
    events = follow(client, build_id)
    worker.join()
    assert [number for number, _, _ in events] == [1, 2, 3, 4]


def test_a_story_of_more_events_than_are_read_at_once_is_told_whole(
    client: TestClient, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    n_events = 1100
    with database.write() as session:
        session.add_all(
            JobEventRow(job_id=run.job_id, seq=seq, kind="log", payload={"message": "m"})
            for seq in range(1, n_events + 1)
        )
    finish(database, run)
    assert [number for number, _, _ in follow(client, build_id)] == list(range(1, n_events + 2))


@pytest.mark.parametrize("value", ["-1", "abc", "1.5", "9" * 30])
def test_a_last_event_that_cannot_be_is_refused(
    client: TestClient, database: Database, running: tuple[str, JobRun], value: str
) -> None:
    build_id, run = running
    finish(database, run)
    headers = {"Last-Event-ID": value}
    answer = client.get(f"/v1/builds/{build_id}/events", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["part"] == "header/last-event-id"


def test_a_failed_build_says_why(
    client: TestClient, database: Database, add_build: AddBuild
) -> None:
    build = add_build()
    with database.write() as session:
        session.execute(
            update(JobRow).values(status=JobStatus.FAILED, error="why", error_code="a-code")
        )
    record = client.get(f"/v1/builds/{build.id}").json()
    assert (record["status"], record["error"], record["error_code"]) == ("failed", "why", "a-code")


# What builds deliver.


def test_a_meta_learner_tells_its_report_and_lineage(
    client: TestClient,
    add_model: AddModel,
    add_meta_learner: Callable[..., MetaLearnerRow],
) -> None:
    models = [add_model(), add_model()]
    row = add_meta_learner(*models)
    record = client.get(f"/v1/meta-learners/{row.id}").json()
    assert record["model_ids"] == [model.id for model in models]
    assert (record["status"], record["pool"]) == ("active", "default")
    told = {"estimate": None, "baselines": [], "warnings": [], "steps": 3}  # of an earlier version
    assert (record["report"], record["sha256"]) == (told, row.sha256)
    (listed,) = client.get("/v1/meta-learners").json()["items"]
    assert listed == {name: value for name, value in record.items() if name != "model_ids"}


def test_withdrawing_a_model_taints_what_learnt_from_it(
    client: TestClient,
    add_model: AddModel,
    add_meta_learner: Callable[..., MetaLearnerRow],
) -> None:
    model = add_model()
    row = add_meta_learner(model, add_model())
    client.delete(f"/v1/models/{model.id}")
    assert client.get(f"/v1/meta-learners/{row.id}").json()["status"] == "tainted"


def test_an_unknown_meta_learner_is_not_found(client: TestClient) -> None:
    answer = client.get("/v1/meta-learners/ml_nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "meta-learner-not-found")
