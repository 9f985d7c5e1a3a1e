"""The demo's own server: started in the background, found again, stopped.

All of its state lies under var/demo, whatever the environment says about other deployments.
"""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from demo.api import is_ready
from demo.errors import DemoError

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var" / "demo"
KEY_FILE, RECORD_FILE, LOG_FILE = VAR / "key", VAR / "server.json", VAR / "server.log"
HOST, DEFAULT_PORT, PORTS_TRIED = "127.0.0.1", 8000, 100
START_WITHIN_S, STOP_WITHIN_S, POLL_S = 60.0, 20.0, 0.2
TAIL_LINES = 15
KEPT = ("MODELPOOL_DEVICE", "MODELPOOL_THREADS")
"""Settings of the caller's environment that the demo's server takes over."""
STARTED = re.compile(r"\S+ started \(pid=(\d+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running demo server; pid is honcho's, which leads a session of its own."""

    pid: int
    url: str


def running() -> Server | None:
    """The demo server of an earlier run, if its processes are there, healthy or not."""
    try:
        server = Server(**json.loads(RECORD_FILE.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return server if _is_ours(server.pid) else None


def forget() -> bool:
    """Drop the record of an earlier server that is gone; whether there was one."""
    if not RECORD_FILE.exists():
        return False
    RECORD_FILE.unlink()
    return True


def start(port: int | None) -> Server:
    """Start the demo's server, or find it up and healthy.

    Args:
        port: where to listen; the next free one is taken if it is in use.

    Raises:
        DemoError: if it does not come up within START_WITHIN_S; with the log's last lines.
    """
    earlier = running()
    if earlier is not None and is_ready(earlier.url):
        return earlier
    if earlier is not None:
        stop(earlier)
    if not (ROOT / "Procfile").is_file():
        raise DemoError(f"{ROOT} has no Procfile: run the demo from a checkout of the repository.")
    VAR.mkdir(parents=True, exist_ok=True)
    free = free_port(port or int(os.environ.get("MODELPOOL_PORT", DEFAULT_PORT)))
    environment = server_environment(os.environ, port=free, key=api_key())
    _set_up(environment)
    with LOG_FILE.open("wb") as log:
        honcho = subprocess.Popen(
            [sys.executable, "-m", "honcho", "--no-colour", "start"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(pid=honcho.pid, url=f"http://{HOST}:{free}")
    RECORD_FILE.write_text(json.dumps({"pid": server.pid, "url": server.url}))
    _wait_until_ready(server, honcho)
    return server


def stop(server: Server) -> None:
    """End the server and everything it started; returns when all of it is gone."""
    # honcho gives each process a session of its own and names its pid in the log.
    started = [int(pid) for pid in STARTED.findall(_log())]
    _signal(server.pid, signal.SIGTERM)
    _wait_until_gone([server.pid], STOP_WITHIN_S)
    for pid in (*started, server.pid):
        _signal(pid, signal.SIGKILL)
    _wait_until_gone([*started, server.pid], POLL_S * 10)
    RECORD_FILE.unlink(missing_ok=True)


def api_key() -> str:
    """The demo's admin key: made once, kept in a file that only its owner can read."""
    if not KEY_FILE.exists():
        VAR.mkdir(parents=True, exist_ok=True)
        handle = os.open(KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"mp_{secrets.token_urlsafe(32)}")
    return KEY_FILE.read_text().strip()


def log_tail() -> str:
    """The last lines of the server's log, indented."""
    return "\n".join(f"    {line}" for line in _log().splitlines()[-TAIL_LINES:])


def free_port(wanted: int) -> int:
    """The wanted port of the loopback address, or the next one that nobody listens on."""
    for port in range(wanted, wanted + PORTS_TRIED):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise DemoError(f"Ports {wanted} to {port} are all in use: choose one with PORT=n.")


def server_environment(caller: Mapping[str, str], *, port: int, key: str) -> dict[str, str]:
    """What the server's processes see: the caller's environment without its own deployment."""
    inherited = {
        name: value
        for name, value in caller.items()
        if not name.startswith("MODELPOOL_") or name in KEPT
    }
    tools = str(Path(sys.executable).parent)
    return {
        **inherited,
        "PATH": os.pathsep.join([tools, caller.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "MODELPOOL_VAR": str(VAR),
        "MODELPOOL_HOST": HOST,
        "MODELPOOL_PORT": str(port),
        "MODELPOOL_BOOTSTRAP_KEY": key,
    }


def _set_up(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pool.setup"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(
            f"The database under {VAR} cannot be set up:\n{done.stderr.strip()[-2000:]}\n"
            f"If it is from another version, delete {VAR} and run the demo again."
        )


def _wait_until_ready(server: Server, honcho: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if honcho.poll() is not None:
            RECORD_FILE.unlink(missing_ok=True)
            raise DemoError(
                f"A process of the server ended at once. The end of {LOG_FILE}:\n{log_tail()}\n"
                f"Correct what it says; `honcho start` in {ROOT} shows all of it."
            )
        if is_ready(server.url):
            return
        time.sleep(POLL_S)
    stop(server)
    raise DemoError(
        f"The server was not ready within {START_WITHIN_S:.0f} s. The end of {LOG_FILE}:\n"
        f"{log_tail()}\nIf the machine is merely busy, run the demo again."
    )


def _log() -> str:
    try:
        return LOG_FILE.read_text(errors="replace")
    except OSError:
        return ""


def _is_ours(pid: int) -> bool:
    """Whether the process is alive and is honcho, not one that got its number later."""
    if not _is_alive(pid):
        return False
    try:
        return b"honcho" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # no /proc on this system
        return os.getpgid(pid) == pid


def _is_alive(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # takes leave of it if this process started it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A container's first process may never take leave of the dead.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _wait_until_gone(pids: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(_is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(POLL_S)
