"""How a connection is kept: how long a request may take to arrive, how long an idle one stays.

uvicorn closes idle connections but not those that trickle, and a proxy that would is not there in
the embedded default.
"""

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 15.0
"""From a connection's first moment, or from the first byte of a further request."""
BYTES_PER_S = 1024
"""What a body must bring on average, after it was silent for as long as it may be."""
KEEP_ALIVE_S = 75
"""Of an idle connection: longer than whoever is on its other end keeps it (httpx 5 s, nginx and
AWS's load balancer 60 s). Who closes first must be the client: a request that is on its way while
the server closes is lost, and uvicorn's default is httpx's to the second."""


class DeadlineProtocol(H11Protocol):
    """Closes a connection whose request line and headers take too long.

    h11 bounds their size, 64 KiB in all, and answers more with 400.
    """

    headers_s = HEADERS_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Stop to wait when a request is at work, start when another one begins to arrive."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._deadline is None:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._deadline = self.loop.call_later(self.headers_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


UVICORN: Mapping[str, Any] = MappingProxyType(
    {
        "http": DeadlineProtocol,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "access_log": False,
        "log_config": None,
        "proxy_headers": False,  # trusted_proxies decides, also under other servers
    }
)
"""Arguments of `uvicorn.run` and `uvicorn.Config` alike."""


class BodyPace:
    """Refuses a body that falls silent, or trickles, with 408; only waiting for it counts."""

    def __init__(self, app: ASGIApp, *, silence_s: float) -> None:
        self._app = app
        self._silence_s = silence_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen, waited_s, complete = 0, 0.0, False

        async def receive_in_time() -> Message:
            nonlocal seen, waited_s, complete
            if complete:  # what comes now is the client's end, however late
                return await receive()
            left_s = self._silence_s + seen / BYTES_PER_S - waited_s
            started = time.perf_counter()
            try:
                async with asyncio.timeout(min(self._silence_s, left_s)):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            waited_s += time.perf_counter() - started
            seen += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)


def _too_slow() -> Any:
    return HTTPException(
        HTTPStatus.REQUEST_TIMEOUT,
        "The body came too slowly, or stopped. Send it again over a steadier connection.",
        headers={"Connection": "close"},
    )
