"""Pure-ASGI guards in front of every route: request ids, body size, and an access log."""

import logging
import secrets
import time
from collections.abc import Callable
from http import HTTPMethod, HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import unexpected
from app.metrics import Instruments
from pool.actors import Actor, acting
from pool.logs import bound

log = logging.getLogger("modelpool.access")

JSON_BODY_BYTES = 1024 * 1024
METHODS = frozenset(HTTPMethod)
ID_HEADER = b"x-request-id"


class RequestId:
    """Give each request an id, send it back, and log method, route, status and duration.

    The route's template is logged, never the path's or the query's values.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        started = time.perf_counter()
        scope.setdefault("state", {}).update(request_id=request_id, started=started)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((ID_HEADER, request_id.encode()))
            await send(message)

        instruments: Instruments = scope["app"].state.instruments
        who = Actor(request_id=request_id)
        with bound(request_id=request_id), acting(who), instruments.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:  # noqa: BLE001  # else the web server would log its message
                answer = await unexpected(Request(scope), error)
                if not status:
                    await answer(scope, receive, send_with_id)
            finally:
                _note_request(instruments, scope, status, time.perf_counter() - started)


def _note_request(instruments: Instruments, scope: Scope, status: int, seconds: float) -> None:
    """Log and count it. A method that HTTP does not know is counted as OTHER: clients choose it."""
    route = getattr(scope.get("route"), "path", "unmatched")
    method = scope["method"] if scope["method"] in METHODS else "OTHER"
    code = scope["state"].get("problem_code")
    instruments.request_seconds.labels(method, route, status).observe(seconds)
    if code is not None:
        instruments.problems.labels(method, route, code).inc()
    extra = {"method": method, "route": route, "status": status, "code": code}
    extra["duration_ms"] = round(seconds * 1000, 1)
    log.info("%s %s %d", method, route, status, extra=extra)


class BodyLimit:
    """Refuse bodies over the route's limit, by their declared length or as they arrive."""

    def __init__(self, app: ASGIApp, *, limit_for: Callable[[str], int]) -> None:
        self._app = app
        self._limit_for = limit_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_for(scope["path"])
        seen = 0

        async def receive_within_limit() -> Message:
            nonlocal seen
            if _declared_length(scope) > limit:
                raise _too_large(limit)
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _too_large(limit)
            return message

        await self._app(scope, receive_within_limit, send)


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _too_large(limit: int) -> HTTPException:
    return HTTPException(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The body is larger than the {limit:,} bytes this route takes. Send less at a time, "
        "shrink images (they are resized to the meta-learner's size anyway), or ask the "
        "operator to raise the limit.",
    )
