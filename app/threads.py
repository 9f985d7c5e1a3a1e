"""How a route's plain function runs: in a thread, and without needing a second one afterwards.

FastAPI checks a plain function's answer in a thread of its own, while the session that the
function used is still open. Under load that deadlocks: every thread waits for a row or a
connection that a session holds which cannot close before it gets a thread. FastAPI checks a
coroutine's answer at once, so a plain function is made one here.
"""

import inspect
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool


class ThreadedRoute(APIRoute):
    """A route whose transaction ends whatever the other requests wait for."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **settings: Any) -> None:
        plain = inspect.isfunction(endpoint) and not (
            inspect.iscoroutinefunction(endpoint) or inspect.isasyncgenfunction(endpoint)
        )
        super().__init__(path, in_a_thread(endpoint) if plain else endpoint, **settings)


def in_a_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """The plain function as a coroutine function of the same signature."""

    async def call(**arguments: Any) -> Any:
        return await run_in_threadpool(function, **arguments)

    # Not functools.wraps: FastAPI looks through its __wrapped__ and finds a plain function again.
    call.__name__, call.__qualname__ = function.__name__, function.__qualname__
    call.__doc__, call.__module__ = function.__doc__, function.__module__
    call.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    return call
