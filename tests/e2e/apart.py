"""A deployment whose processes die and start one by one, as under an orchestrator."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from deployment import PATIENCE_S, ROOT, Deployment

PROCFILE = dict(
    line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line
)


class Apart(Deployment):
    """The Procfile's processes, each to be killed and started by its name."""

    def __init__(self, var: Path, **environment: str) -> None:
        super().__init__(var, **environment)
        self._parts: dict[str, psutil.Popen] = {}
        self._left: list[psutil.Process] = []

    def start(self) -> None:
        """Migrate, start every process of the Procfile, wait until the API is ready."""
        subprocess.run(
            [sys.executable, "-m", "pool.setup"], cwd=ROOT, env=self.environment, check=True
        )
        for name in PROCFILE:
            self.start_part(name)
        self.wait_until(self._is_ready, "a ready API")

    def start_part(self, name: str, *, like: str = "") -> None:
        """Start a process; one that is no part of the Procfile is started like one that is."""
        command = PROCFILE[like or name]
        if like:
            command = command.replace(f"{like.removeprefix('worker-')}@", f"{name}@")
        with (self.var / "server.log").open("ab") as log:
            self._parts[name] = psutil.Popen(
                shlex.split(command),
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if name == "web":
            self.wait_until(self._is_ready, "a ready API")

    def tree(self, name: str) -> list[psutil.Process]:
        """A part's process and all that it started."""
        part = self._parts[name]
        return [part, *part.children(recursive=True)]

    def kill_part(self, name: str) -> None:
        """SIGKILL to one process; what it started lives on, as long as it wants to."""
        part = self._parts.pop(name)
        started = part.children(recursive=True)
        part.send_signal(signal.SIGKILL)
        part.wait()
        # Nobody would find them after a test that fails.
        self._left = [each for each in (*self._left, *started) if each.is_running()]

    def stop_part(self, name: str) -> None:
        """SIGTERM, and its end."""
        part = self._parts.pop(name)
        part.terminate()
        part.wait(PATIENCE_S)

    def suspend(self, name: str) -> list[psutil.Process]:
        """SIGSTOP to a part and all that it started, which are returned."""
        stopped = self.tree(name)
        for process in stopped:
            process.suspend()
        return stopped

    def processes(self) -> list[psutil.Process]:
        """Every process of the deployment."""
        found = list(self._left)
        for part in self._parts.values():
            if part.is_running() and part.status() != psutil.STATUS_ZOMBIE:
                found += [part, *part.children(recursive=True)]
        return found

    def kill(self) -> None:
        """SIGKILL to every process at once."""
        super().kill()
        self._parts.clear()
