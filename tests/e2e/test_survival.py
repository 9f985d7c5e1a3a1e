"""Builds survive the death of any process, on the embedded default."""

import signal
from collections.abc import Callable

from deployment import Deployment
from journeys import fill_pool, order_build


def test_a_build_survives_the_death_of_its_process_and_then_of_the_whole_server(
    deploy: Callable[..., Deployment],
) -> None:
    server = deploy(lease_s="3", sweep_every_s="1")
    server.start()
    fill_pool(server, 2)
    build_id = order_build(server, outer_steps=80, save_every=10, memory_tasks=4)

    def progress() -> float:
        value: float = server.get(f"/v1/builds/{build_id}")["progress"]
        return value

    server.wait_until(lambda: progress() > 0.02, "progress")
    for process in server.job_processes():
        process.send_signal(signal.SIGKILL)
    before = progress()
    server.wait_until(lambda: progress() > before, "progress after the job's process died")

    server.kill()
    server.start()
    record = server.wait_for_build(build_id)
    assert record["status"] == "succeeded", record
    assert len(server.get("/v1/meta-learners")["items"]) == 1
    assert not list((server.var / "objects" / "builds").rglob("*.safetensors"))
    assert not list((server.var / "objects" / "quarantine").iterdir())
