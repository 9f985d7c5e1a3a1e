"""Slow, flooding and malformed requests are bounded, and the next client is served."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from live import serving

from app.connections import DeadlineProtocol
from app.main import create_app
from pool.settings import Settings
from tests.factories import ADMIN

PATIENCE_S = 60
PART = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n'
KEY = f"Authorization: Bearer {ADMIN}\r\n"


@pytest.fixture
def impatient(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The application with waits of tenths of seconds."""
    monkeypatch.setattr(DeadlineProtocol, "headers_s", 0.3)
    return create_app(settings.model_copy(update={"body_silence_s": 0.3}))


@pytest.fixture
def url(impatient: FastAPI) -> Iterator[str]:
    """Where it answers."""
    with serving(impatient) as address:
        yield address


@pytest.fixture
def connect(url: str) -> Callable[[], Any]:
    """A bare connection to it."""

    @contextmanager
    def connected() -> Iterator[socket.socket]:
        at = httpx.URL(url)
        with socket.create_connection((at.host, at.port), timeout=PATIENCE_S) as connection:
            yield connection

    return connected


def everything(connection: socket.socket) -> bytes:
    """What the server says until it closes; a socket's timeout fails the test.

    A system resets a connection that is closed while bytes are on their way, and may so lose what
    was said last.
    """
    said = b""
    with suppress(ConnectionResetError, BrokenPipeError):
        while part := connection.recv(65536):
            said += part
    return said


def drip(connection: socket.socket, drop: bytes, over: threading.Event) -> threading.Thread:
    """Send drop after drop from a thread until the server has closed."""

    def send() -> None:
        while not over.wait(0.05):
            try:
                connection.sendall(drop)
            except OSError:
                return

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def still_serves(url: str) -> bool:
    return httpx.get(f"{url}/version", timeout=PATIENCE_S).status_code == 200


def test_a_connection_that_says_nothing_is_closed(connect: Callable[[], Any], url: str) -> None:
    with connect() as connection:
        assert everything(connection) == b""
    assert still_serves(url)


def test_headers_that_trickle_are_cut_off(connect: Callable[[], Any], url: str) -> None:
    over = threading.Event()
    with connect() as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n")
        thread = drip(connection, b"X-A: b\r\n", over)
        try:
            assert everything(connection) == b""
        finally:
            over.set()
            thread.join()
    assert still_serves(url)


def test_a_second_request_on_a_connection_has_the_same_deadline(
    connect: Callable[[], Any],
) -> None:
    with connect() as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):  # head and body may come apart
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /version HTTP/1.1\r\n")
        assert everything(connection) == b""


def test_a_request_at_work_outlives_the_headers_deadline(
    impatient: FastAPI, connect: Callable[[], Any]
) -> None:
    @impatient.get("/slow", include_in_schema=False)
    async def slow() -> str:
        await asyncio.sleep(3 * DeadlineProtocol.headers_s)
        return "done"

    with connect() as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert everything(connection).endswith(b'"done"')


@pytest.mark.parametrize("drops", [False, True], ids=["silent", "trickling"])
@pytest.mark.parametrize(
    ("path", "kind", "start"),
    [
        ("/v1/pools", "application/json", b"["),
        ("/v1/models", "multipart/form-data; boundary=x", PART),
        ("/v1/meta-learners/ml_1/predictions", "multipart/form-data; boundary=x", PART),
    ],
    ids=["json", "checkpoint", "images"],
)
def test_a_body_that_stops_is_answered_408(
    connect: Callable[[], Any], url: str, path: str, kind: str, start: bytes, drops: bool
) -> None:
    over = threading.Event()
    with connect() as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{KEY}Content-Type: {kind}\r\n"
        connection.sendall(f"{head}Content-Length: 90000\r\n\r\n".encode() + start)
        thread = drip(connection, b" ", over) if drops else None
        try:
            said = everything(connection)
        finally:
            over.set()
            if thread:
                thread.join()
    if said or not drops:
        assert said.startswith(b"HTTP/1.1 408")
        assert b'"code":"too-slow"' in said
    assert still_serves(url)


@pytest.mark.parametrize(
    "flood",
    [b"X-A: " + b"a" * 200_000, b"X-A: a\r\n" * 30_000, b"A" * 200_000],
    ids=["one long header", "many headers", "no header at all"],
)
def test_a_flood_of_headers_is_refused_before_it_is_stored(
    connect: Callable[[], Any], url: str, flood: bytes
) -> None:
    with connect() as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused while it was on its way
            connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n" + flood)
        said = everything(connection)
    assert said == b"" or said.startswith(b"HTTP/1.1 400")
    assert still_serves(url)


def test_many_idle_connections_leave_room_for_a_client(
    connect: Callable[[], Any], url: str
) -> None:
    held = [connect() for _ in range(200)]
    try:
        for each in held:
            each.__enter__()
        assert still_serves(url)
    finally:
        for each in held:
            each.__exit__(None, None, None)
