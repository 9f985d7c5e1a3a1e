"""Upload, inspect, build, ask: real processes on the embedded default."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from deployment import Deployment
from factories import small_checkpoint, small_manifest
from journeys import ask, order_build, send_model
from stands import Stand


def on_the_shared_deployment(test: Any) -> Any:
    """On the deployment with two models that faults hit, too."""
    on_files = pytest.mark.parametrize("stand", ["files"], indirect=True)
    return pytest.mark.xdist_group("faults-files")(on_files(test))


def events_of(server: Deployment, build_id: str, after: int = 0) -> list[tuple[int, str, dict]]:
    """The build's server-sent events, parsed."""
    events = []
    headers = {"Last-Event-ID": str(after)}
    with server.http.stream("GET", f"/v1/builds/{build_id}/events", headers=headers) as stream:
        fields: dict[str, str] = {}
        for line in stream.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                fields = {}
    return events


def test_the_whole_path_from_upload_to_prediction_and_withdrawal(
    deploy: Callable[..., Deployment],
) -> None:
    server = deploy()
    server.start()

    too_early = server.http.post("/v1/builds", json={})
    assert (too_early.status_code, too_early.json()["code"]) == (409, "no-usable-models")

    hostile = send_model(server, b"\x80\x04\x95 not a model", small_manifest("hostile"))
    assert hostile.status_code == 202
    again = send_model(server, small_checkpoint(0), small_manifest("m0"))
    assert again.status_code == 202
    models = server.wait_for_models()
    assert models["hostile"]["status"] == "rejected"
    assert models["hostile"]["reason"]
    assert models["hostile"]["recipe"]
    same = send_model(server, small_checkpoint(0), small_manifest("m0"))
    assert (same.status_code, same.json()["id"]) == (200, again.json()["id"])

    server.http.delete(f"/v1/models/{again.json()['id']}")
    for seed in (1, 2):
        send_model(server, small_checkpoint(seed), small_manifest(f"m{seed}"))
    ready = server.wait_until(
        lambda: len(server.get("/v1/models?status=ready")["items"]) == 2, "two ready models"
    )
    assert ready is None

    build_id = order_build(server)
    record = server.wait_for_build(build_id)
    assert record["status"] == "succeeded", record
    events = events_of(server, build_id)
    assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
    assert {"log", "progress", "status"} <= {kind for _, kind, _ in events}
    assert events_of(server, build_id, after=events[-2][0]) == events[-1:]
    progress = [payload for _, kind, payload in events if kind == "progress"]
    assert all(0 <= point["fraction"] <= 1 for point in progress)
    trained = [point for point in progress if point["stage"] != "report"]
    assert "distillation_loss" in trained[-1]["metrics"]

    answer = ask(server, record["meta_learner_id"])
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [p["label"] for p in body["predictions"]] == ["dark", "bright"]
    assert abs(sum(body["predictions"][0]["probabilities"].values()) - 1) < 1e-5
    assert body["timing_ms"] > 0

    learner = server.get(f"/v1/meta-learners/{record['meta_learner_id']}")
    assert len(learner["model_ids"]) == 2
    server.http.delete(f"/v1/models/{learner['model_ids'][0]}")
    assert ask(server, learner["id"]).json()["meta_learner_status"] == "tainted"


@on_the_shared_deployment
def test_an_ensemble_of_the_pools_models_serves(stand: Stand) -> None:
    server = stand.server
    record = server.wait_for_build(order_build(server, algorithm="ensemble"))
    assert record["status"] == "succeeded", record
    learner = server.get(f"/v1/meta-learners/{record['meta_learner_id']}")
    ready = {model["id"] for model in server.get("/v1/models?status=ready")["items"]}
    assert (learner["backbone"], learner["image_size"]) == ("ensemble", 16)
    assert set(learner["model_ids"]) == ready
    for fields in ({}, {"teachers": "2"}):
        answer = ask(server, learner["id"], **fields)
        assert answer.status_code == 200, answer.text
        assert [p["label"] for p in answer.json()["predictions"]] == ["dark", "bright"]


@on_the_shared_deployment
def test_everything_is_still_there_after_a_restart_and_nothing_of_it_is_readable_by_others(
    stand: Stand,
) -> None:
    server = stand.server
    lists = ("/v1/models", "/v1/builds", "/v1/meta-learners", "/v1/keys")
    before = [server.get(path)["items"] for path in lists]
    assert before[0]
    server.kill()
    server.start()
    assert [server.get(path)["items"] for path in lists] == before
    for directory in (server.var / "objects", server.var / "messages", server.var / "work"):
        assert directory.stat().st_mode & 0o077 == 0, directory
    with sqlite3.connect(server.var / "modelpool.db") as database:
        dumped = "\n".join(database.iterdump())
    assert server.key not in dumped
    assert server.key not in server.log()
