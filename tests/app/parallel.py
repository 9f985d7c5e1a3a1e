"""A real server on each database, and many clients at once."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

AT_ONCE = 50


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of a real server of the application, on a port of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


def at_once(ask: Callable[[int], httpx.Response], n: int = AT_ONCE) -> list[httpx.Response]:
    """Ask from so many threads that start together."""
    start = threading.Barrier(n)

    def asked(number: int) -> Any:
        start.wait()
        return ask(number)

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(asked, range(n)))
