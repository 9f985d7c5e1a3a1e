"""A build that outlasts the patience of RabbitMQ with a message; on a node of its own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from deployment import free_port
from stands import server_stand

from pool.domain import JobStatus

PATIENCE_MS = 5000


@contextmanager
def impatient_rabbitmq(home: Path) -> Iterator[int]:
    """The port of a node whose `consumer_timeout` is 5 s instead of 30 min."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if not found:
        pytest.skip("no RabbitMQ to start here")
    port, distribution = free_port(), free_port()
    (home / "plugins").write_text("[].")
    (home / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nconsumer_timeout = {PATIENCE_MS}\n"
    )
    (home / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 1000}]}].")
    at = {
        "HOME": home,
        "RABBITMQ_NODENAME": f"modelpool{port}@localhost",
        "RABBITMQ_NODE_PORT": port,
        "RABBITMQ_DIST_PORT": distribution,
        "RABBITMQ_MNESIA_BASE": home / "mnesia",
        "RABBITMQ_LOG_BASE": home / "log",
        "RABBITMQ_CONFIG_FILE": home / "rabbitmq.conf",
        "RABBITMQ_ADVANCED_CONFIG_FILE": home / "advanced.config",
        "RABBITMQ_ENABLED_PLUGINS_FILE": home / "plugins",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
    }
    node = psutil.Popen(
        [found[-1]],
        env=os.environ | {name: str(value) for name, value in at.items()},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert any("completed with" in line for line in node.stdout), "the node did not start"
        yield port
    finally:
        for process in (*node.children(recursive=True), node):
            process.kill()
        node.wait()
        node.stdout.close()


@pytest.mark.matrix
@pytest.mark.xdist_group("faults-rabbitmq")
def test_a_build_outlasts_the_brokers_patience_and_its_worker_takes_the_next_one(
    tmp_path: Path,
) -> None:
    with (
        impatient_rabbitmq(tmp_path) as port,
        server_stand(tmp_path / "var", "rabbitmq", at=(port, "/")) as stand,
    ):
        build_id = stand.order(steps=100_000)
        stand.wait_for_state(build_id)
        stand.server.wait_until(
            lambda: stand.server.log().count("PRECONDITION_FAILED") > 1, "its patience to end"
        )
        job = stand.job(build_id)
        assert (job.status, job.attempt) == (JobStatus.RUNNING, 1)
        assert stand.server.http.post(f"/v1/builds/{build_id}/cancel").is_success
        assert stand.wait_until_over(stand.order_short()) == JobStatus.SUCCEEDED
        stand.assert_all_is_well()
