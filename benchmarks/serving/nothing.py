"""The same stack that does nothing: FastAPI on uvicorn with a route that returns a constant.

    MODELPOOL_PORT=8001 python -m benchmarks.serving.nothing

The web server's options and its protocol are those of `python -m app.main`.
"""

import os

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Alive(BaseModel):
    """A constant."""

    status: str = "ok"


app = FastAPI()


@app.get("/healthz/live")
async def live() -> Alive:
    """At the path where a server is awaited."""
    return Alive()


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(os.environ["MODELPOOL_PORT"]),
        http="app.connections:DeadlineProtocol",
        access_log=False,
        proxy_headers=False,
        log_config=None,
    )
