"""The application behind a real web server on a thread of the test's own process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from app.connections import UVICORN


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The URL at which the application answers until the context is left."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, **UVICORN)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
