"""A whole deployment in processes of its own, as its Procfile starts it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 150


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Deployment:
    """Start, kill and talk to one server."""

    def __init__(self, var: Path, **environment: str) -> None:
        self.var = var
        self.port = free_port()
        self.key = "mp_" + secrets.token_urlsafe(24)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MODELPOOL_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "MODELPOOL_VAR": str(var),
            "MODELPOOL_PORT": str(self.port),
            "MODELPOOL_BOOTSTRAP_KEY": self.key,
            "MODELPOOL_THREADS": "1",
            **{f"MODELPOOL_{name.upper()}": value for name, value in environment.items()},
        }
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=60,
        )
        self._honcho: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Migrate, start every process of the Procfile, wait until the API is ready."""
        subprocess.run(
            [sys.executable, "-m", "pool.setup"], cwd=ROOT, env=self.environment, check=True
        )
        honcho = shutil.which("honcho", path=self.environment["PATH"])
        assert honcho
        self.var.mkdir(parents=True, exist_ok=True)
        with (self.var / "server.log").open("ab") as log:
            self._honcho = subprocess.Popen(
                [honcho, "start"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until(self._is_ready, "a ready API")

    def _is_ready(self) -> bool:
        try:
            return self.http.get("/healthz/ready").status_code == 200
        except httpx.TransportError:
            return False

    def processes(self) -> list[psutil.Process]:
        """Every process of the deployment."""
        if self._honcho is None or not psutil.pid_exists(self._honcho.pid):
            return []
        honcho = psutil.Process(self._honcho.pid)
        return [honcho, *honcho.children(recursive=True)]

    def job_processes(self) -> list[psutil.Process]:
        """Those that do a job's work."""
        found = []
        for process in self.processes():
            try:
                if "worker.run_job" in process.cmdline():
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self) -> None:
        """SIGKILL to every process at once, as a power cut would."""
        doomed = self.processes()
        for process in doomed:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(doomed, timeout=PATIENCE_S)
        if self._honcho is not None:
            self._honcho.wait()
        self._honcho = None

    def log(self) -> str:
        """What all processes printed."""
        return (self.var / "server.log").read_text(errors="replace")

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Poll a condition."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, f"waited in vain: {what}\n{self.log()[-4000:]}"
            time.sleep(0.1)

    def get(self, path: str) -> Any:
        """The JSON at a path; anything but success fails the test."""
        answer = self.http.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    def wait_for_models(self) -> dict[str, dict[str, Any]]:
        """Every model's record by name, once all are inspected."""

        def decided() -> bool:
            items = self.get("/v1/models")["items"]
            return all(model["status"] in ("ready", "rejected") for model in items)

        self.wait_until(decided, "inspections")
        return {model["name"]: model for model in self.get("/v1/models")["items"]}

    def wait_for_build(self, build_id: str) -> dict[str, Any]:
        """A build's record, once it has ended."""

        def ended() -> bool:
            status = self.get(f"/v1/builds/{build_id}")["status"]
            return status in ("succeeded", "failed", "canceled")

        self.wait_until(ended, "the build's end")
        record: dict[str, Any] = self.get(f"/v1/builds/{build_id}")
        return record
