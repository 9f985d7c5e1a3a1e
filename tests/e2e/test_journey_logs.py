"""The log lines of every process of a deployment, over a whole journey."""

import json
import secrets
from typing import Any

import pytest
from deployment import Deployment
from factories import small_checkpoint, small_manifest
from journeys import order_build, png, send_model
from stands import Stand


def lines_of(server: Deployment) -> list[dict[str, Any]]:
    """Every line of the server's processes, parsed; ours are all JSON."""
    mine = [line for line in server.log().splitlines() if line.startswith("{")]
    assert mine
    return [json.loads(line) for line in mine]


@pytest.mark.xdist_group("faults-redis")
@pytest.mark.parametrize("stand", ["redis"], indirect=True)
def test_a_journeys_lines_join_requests_to_jobs_and_hold_nothing_that_clients_sent(
    stand: Stand,
) -> None:
    server = stand.server
    planted = {name: f"planted{secrets.token_hex(8)}" for name in ("text", "file", "label", "path")}
    for seed in (10, 11):
        said = small_manifest(planted["text"], description=planted["text"])
        answer = send_model(server, small_checkpoint(seed), said, name=f"{planted['file']}.bin")
        assert answer.status_code == 202, answer.text
    refused = send_model(server, b"hostile" + planted["text"].encode(), small_manifest("hostile"))
    server.wait_for_models()
    build = server.wait_for_build(order_build(server, algorithm="ensemble"))
    path = f"/v1/meta-learners/{build['meta_learner_id']}/predictions"
    parts = [("support", (planted["file"], png(shade))) for shade in (10, 240)]
    parts += [("query", (planted["file"], png(20)))]
    answer = server.http.post(path, files=parts, data={"labels": ["dark", planted["label"]]})
    assert answer.status_code == 200, answer.text
    assert server.http.post(f"{path}?{planted['path']}", files=parts).status_code == 422
    server.http.get(f"/v1/models/{planted['path']}")

    found = [name for name, mark in planted.items() if mark in server.log()]
    assert found == []
    assert server.key not in server.log()
    lines = lines_of(server)
    request_id = refused.headers["x-request-id"]
    (sent,) = [
        line
        for line in lines
        if line["message"] == "job sent" and line.get("request_id") == request_id
    ]
    of_the_job = [line for line in lines if line.get("job_id") == sent["job_id"]]
    assert {line["message"] for line in of_the_job} >= {"job begins", "checkpoint examined"}
    assert any(line.get("subject_id") == refused.json()["id"] for line in of_the_job)
    (answered,) = [
        line for line in lines if line.get("request_id") == answer.headers["x-request-id"]
    ]
    assert (answered["route"], answered["status"]) == (
        "/v1/meta-learners/{meta_learner_id}/predictions",
        200,
    )
    assert answered["duration_ms"] > 0
