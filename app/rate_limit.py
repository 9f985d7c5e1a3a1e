"""A guard in front of every route: who asks too often gets 429 before the body is read.

Subjects are API keys (by a digest of what was sent, so that no database is asked) and, without a
key, peer addresses. Keys that turn out not to be valid are counted by address, and an address that
sent too many is refused before the next one is looked up. Keys that were valid in this process are
spared that, or one client with a revoked key would lock out its whole site.
"""

import hashlib
import ipaddress
import math
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.buckets import Buckets, Draw, Standing
from app.errors import refusal
from pool.errors import RateLimited
from pool.settings import Settings

IPV6_SITE_BITS = 64
KNOWN_KEYS = 10_000
WHAT = {
    "requests": "requests with this API key",
    "predictions": "few-shot requests with this API key",
    "anonymous": "requests without an API key from your address",
    "failed-keys": "API keys that are not valid from your address",
}


class RateLimit:
    """Draw a token for each request, and tell the client how its buckets stand."""

    def __init__(self, app: ASGIApp, *, buckets: Buckets, settings: Settings) -> None:
        self._app = app
        self._buckets = buckets
        self._settings = settings
        self._known: dict[str, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or _is_exempt(scope["path"]):
            await self._app(scope, receive, send)
            return
        key = _key_digest(scope)
        standings = await self._draw(self._draws(scope, key))
        refused = [each for each in standings if each.retry_in_s > 0]
        fields = _header_fields(standings)
        if refused:
            error = _rate_limited(max(refused, key=lambda each: each.retry_in_s))
            await refusal(Request(scope), error, headers=fields)(scope, receive, send)
            return

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._learn(scope, key, message["status"])
                encoded = [(name.lower().encode(), text.encode()) for name, text in fields.items()]
                message["headers"] = [*message.get("headers", []), *encoded]
            await send(message)

        await self._app(scope, receive, send_with_fields)

    def _draws(self, scope: Scope, key: str | None) -> list[Draw]:
        settings = self._settings
        if key is None:
            return [_draw("anonymous", settings.anonymous_per_minute, _site(scope))]
        draws = [_draw("requests", settings.requests_per_minute, key)]
        if scope["method"] == "POST" and is_few_shot(scope["path"]):
            draws.append(_draw("predictions", settings.predictions_per_minute, key))
        if key not in self._known:
            draws.append(self._failed_key(scope, taken=False))
        return draws

    def _failed_key(self, scope: Scope, *, taken: bool) -> Draw:
        return _draw(
            "failed-keys", self._settings.failed_keys_per_minute, _site(scope), taken=taken
        )

    async def _draw(self, draws: Sequence[Draw]) -> list[Standing]:
        limited = [each for each in draws if each.per_minute > 0]
        return await self._buckets.draw(limited) if limited else []

    async def _learn(self, scope: Scope, key: str | None, status: int) -> None:
        """Remember whether the key was valid; `get_caller` alone knows."""
        if key is None:
            return
        if "caller" in scope["state"]:
            if len(self._known) >= KNOWN_KEYS:
                self._known.clear()
            self._known[key] = None
        elif status == 401:
            self._known.pop(key, None)
            await self._draw([self._failed_key(scope, taken=True)])


def is_few_shot(path: str) -> bool:
    """Whether requests to a path bring images to adapt to or to answer."""
    under = path.startswith(("/v1/meta-learners/", "/v1/adaptations/"))
    asks = under and path.endswith(("/predictions", "/adaptations"))
    return asks or (path.startswith("/v2/models/") and path.endswith("/infer"))


def _is_exempt(path: str) -> bool:
    """Probes and pages.

    Probes behind a proxy share one address, and must not hear that it is busy. A page is some
    twenty small files from memory: refusing one costs as much as sending it.
    """
    return path.startswith(("/healthz/", "/v2/health/", "/ui/")) or path in ("/metrics", "/")


def _key_digest(scope: Scope) -> str | None:
    kind, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key:
        return None
    return hashlib.sha256(key.encode("latin-1")).hexdigest()[:32]


def _site(scope: Scope) -> str:
    """The peer's address; of IPv6 the network, since one client has all of its addresses."""
    peer = scope.get("client")
    if peer is None:
        return "local"
    try:
        address = ipaddress.ip_address(peer[0])
    except ValueError:
        return str(peer[0])
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_SITE_BITS), strict=False))
    return str(address)


def _draw(rate: str, per_minute: int, subject: str, *, taken: bool = True) -> Draw:
    return Draw(rate=rate, per_minute=per_minute, subject=subject, taken=taken)


def _header_fields(standings: Sequence[Standing]) -> dict[str, str]:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10)."""
    told = [each for each in standings if each.draw.taken or each.retry_in_s > 0]
    if not told:
        return {}
    return {
        "RateLimit-Policy": ", ".join(
            f'"{each.draw.rate}";q={each.draw.per_minute};w=60' for each in told
        ),
        "RateLimit": ", ".join(
            f'"{each.draw.rate}";r={each.remaining};t={math.ceil(each.full_in_s)}' for each in told
        ),
    }


def _rate_limited(standing: Standing) -> RateLimited:
    wait_s = math.ceil(standing.retry_in_s)
    return RateLimited(
        f"More than {standing.draw.per_minute:,} {WHAT[standing.draw.rate]} a minute. Wait "
        f"{wait_s} s, then send it again; the RateLimit headers say how much is left.",
        retry_after_s=wait_s,
    )
