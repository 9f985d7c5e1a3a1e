"""What deployments under test stand on: the local services, wires to them, a small disk."""

import fcntl
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from proxies import Proxy

REDIS_DATABASES = range(10, 16)
WORK_BYTES = 32 * 2**20


def wire(left: ExitStack, target: tuple[str, int] | Path) -> Proxy:
    """A wire to a service, until the stack unwinds."""
    proxy = Proxy(target)
    left.callback(proxy.close)
    return proxy


def address_of(url: Any) -> tuple[str, int] | Path:
    """host and port of PostgreSQL at a URL, or its Unix socket."""
    if url.host and not url.host.startswith("/"):
        return url.host, url.port or 5432
    folder = url.host or url.query.get("host") or "/var/run/postgresql"
    return Path(folder) / f".s.PGSQL.{url.port or 5432}"


@contextmanager
def redis_server() -> Iterator[tuple[int, str]]:
    """Port and database number of the local Redis, emptied before and afterwards, nobody else's
    meanwhile: two deployments on one database would take each other's messages."""
    redis = pytest.importorskip("redis")
    with ExitStack() as left:
        number = next(each for each in REDIS_DATABASES if _taken(each, left))
        client = left.enter_context(redis.Redis(port=6379, db=number))
        try:
            client.flushdb()
        except redis.ConnectionError:
            pytest.skip("no Redis here")
        yield 6379, str(number)
        client.flushdb()


def _taken(number: int, left: ExitStack) -> bool:
    """Whether the database is now this process's, until the stack unwinds or the process ends."""
    lock = Path(tempfile.gettempdir()) / f"modelpool-tests-redis-{number}.lock"
    held = left.enter_context(lock.open("w"))
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def rabbitmq_server() -> Iterator[tuple[int, str]]:
    """Port and a virtual host of its own on the local RabbitMQ; `/` where nobody may make one."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 5672)) != 0:
            pytest.skip("no RabbitMQ here")
    name = f"modelpool-{secrets.token_hex(6)}"
    try:
        for command in (("add_vhost", name), ("set_permissions", "-p", name, "guest", *[".*"] * 3)):
            subprocess.run(["rabbitmqctl", *command], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield 5672, "/"
        return
    yield 5672, name
    subprocess.run(["rabbitmqctl", "delete_vhost", name], check=True, capture_output=True)


def mount_small(work: Path, left: ExitStack) -> bool:
    """Make the directory a small file system of its own, where that is permitted."""
    work.mkdir(parents=True, mode=0o700)
    if os.geteuid() != 0:
        return False
    options = f"size={WORK_BYTES},mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(work)], check=False
    )
    if mounted.returncode == 0:
        left.callback(subprocess.run, ["umount", "-l", str(work)], check=False)
    return mounted.returncode == 0
