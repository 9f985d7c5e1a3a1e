"""SIGTERM under load: a real server process answers everything that it had accepted."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import BuildRow, MetaLearnerRow
from pool.settings import Settings
from tests.factories import ADMIN

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server(settings: Settings, **more: str) -> Iterator[tuple[psutil.Popen, int]]:
    """`python -m app.main` over this deployment, and its port."""
    port = free_port()
    environment = os.environ | {"MODELPOOL_VAR": str(settings.var_dir), "MODELPOOL_PORT": str(port)}
    process = psutil.Popen(
        [sys.executable, "-m", "app.main"],
        cwd=ROOT,
        env=environment | more,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: accepts(port), "a listening server")
        yield process, port
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()
        process.wait()


class HalfSent:
    """A request whose headers the application has read, as `100 Continue` shows; its body waits."""

    def __init__(self, port: int, request: httpx.Request) -> None:
        self._body = request.read()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        lines = [f"{request.method} {request.url.raw_path.decode()} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        lines += ["Expect: 100-continue", "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        self._file = self._socket.makefile("rb")
        assert self._file.readline().startswith(b"HTTP/1.1 100")
        self._file.readline()

    def finish(self) -> tuple[int, Any]:
        """Send the rest; the answer's status and JSON."""
        self._socket.sendall(self._body)
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = json.loads(self._file.read(int(headers["content-length"])))
        self._file.close()
        self._socket.close()
        return status, body


def prediction(url: str, learner: str, encode: Callable[..., bytes], n: int) -> httpx.Request:
    files = [("support", ("s", encode(i))) for i in (1, 2)] + [("query", ("q", encode(n)))]
    return httpx.Request(
        "POST",
        f"{url}/v1/meta-learners/{learner}/predictions",
        data={"labels": ["a", "b"]},
        files=files,
        headers={"Authorization": f"Bearer {ADMIN}"},
    )


def upload(url: str, manifest: dict[str, Any], n: int) -> httpx.Request:
    return httpx.Request(
        "POST",
        f"{url}/v1/models",
        data={"manifest": json.dumps(manifest)},
        files={"checkpoint": ("c", bytes([n]) * 50_000)},
        headers={"Authorization": f"Bearer {ADMIN}"},
    )


def test_requests_under_way_are_answered_and_streams_ended_before_the_server_stops(
    settings: Settings,
    database: Database,
    add_build: Callable[..., BuildRow],
    add_meta_learner: Callable[..., MetaLearnerRow],
    encode: Callable[..., bytes],
    manifest: dict[str, Any],
) -> None:
    n_each = 10
    learner = add_meta_learner()
    build = add_build()
    with database.write() as session:
        assert jobs.claim(session, build.job_id, holder="run_a", lease_s=60)
    with server(settings) as (process, port), ThreadPoolExecutor(2 * n_each + 2) as threads:
        url = f"http://127.0.0.1:{port}"
        half = [HalfSent(port, prediction(url, learner.id, encode, n)) for n in range(n_each)]
        half += [HalfSent(port, upload(url, manifest, n)) for n in range(n_each)]
        http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=PATIENCE_S
        )
        path = f"/v1/builds/{build.id}/events"
        with http, http.stream("GET", path) as stream:
            lines = stream.iter_lines()
            polling = threads.submit(http.get, f"{path}/poll", params={"after": 10, "wait_s": 30})
            started = time.monotonic()
            wait_until(lambda: open_connections(process, port) == 2 * n_each + 2, "the poll")
            process.send_signal(signal.SIGTERM)
            told = list(lines)
            polled = polling.result()
            assert time.monotonic() - started < 30  # the product's promise: waits do not hold it
        wait_until(lambda: not accepts(port), "a closed door")
        answers = list(threads.map(HalfSent.finish, half))
        assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
    assert "retry: 2000" in told
    assert (polled.status_code, polled.json()["items"]) == (200, [])
    assert [status for status, _ in answers] == [200] * n_each + [202] * n_each
    assert all(len(body["predictions"]) == 1 for _, body in answers[:n_each])
    assert len({body["id"] for _, body in answers[n_each:]}) == n_each


def open_connections(process: psutil.Popen, port: int) -> int:
    """Clients that the process holds a connection to."""
    return sum(
        each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED
        for each in process.net_connections(kind="tcp")
    )


def test_a_server_that_drains_says_that_it_is_unready_and_goes_on_serving(
    settings: Settings,
) -> None:
    with server(settings, MODELPOOL_DRAIN_S="600") as (process, port):
        url = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/healthz/ready").status_code == 200
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{url}/healthz/ready").status_code == 503, "unreadiness")
        pools = httpx.get(f"{url}/v1/pools", headers={"Authorization": f"Bearer {ADMIN}"})
        assert pools.status_code == 200
        process.send_signal(signal.SIGTERM)  # a second one is meant
        assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
