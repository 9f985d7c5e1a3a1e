"""Token buckets: how many requests a subject may still make, counted here or for all replicas.

The generic cell rate algorithm (ITU-T I.371, annex A) keeps one number a bucket: the moment at
which it is full again. One request moves that moment on by the time that one token takes to come
back; a bucket is empty when the moment lies a whole minute ahead.
"""

import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

PERIOD_S = 60.0
ROUNDING_S = 1e-5
"""Sums of tokens miss the period by less; without it a bucket would be one short."""
REDIS_PREFIX = "modelpool:rate:"
REDIS_TIMEOUT_S = 0.25
REDIS_BACK_OFF_S = 5.0
SWEEP_AT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One token of one bucket; only looked at, unless `taken`."""

    rate: str
    """What is limited, such as `requests`."""
    per_minute: int
    subject: str
    """Whose bucket."""
    taken: bool = True

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return f"{self.rate}:{self.subject}"

    @property
    def token_s(self) -> float:
        """How long one token takes to come back."""
        return PERIOD_S / self.per_minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a bucket stands after a draw."""

    draw: Draw
    full_in_s: float
    retry_in_s: float
    """Until there is a token; 0 when there was one."""

    @property
    def remaining(self) -> int:
        """Tokens left."""
        return max(0, math.floor((PERIOD_S - self.full_in_s) / self.draw.token_s + 1e-6))


class Buckets(Protocol):
    """Buckets somewhere."""

    async def draw(self, draws: Sequence[Draw]) -> list[Standing]:
        """Take all of the tokens, or none if one is missing."""

    async def close(self) -> None:
        """Close connections."""


class LocalBuckets:
    """Buckets in this process's memory."""

    def __init__(self) -> None:
        self._full_at: dict[str, float] = {}
        self._sweep_at = SWEEP_AT
        self._lock = threading.Lock()

    async def draw(self, draws: Sequence[Draw]) -> list[Standing]:
        """Take all of the tokens, or none if one is missing."""
        with self._lock:
            return self._draw(draws, time.monotonic())

    async def close(self) -> None:
        """Nothing to close."""

    def _draw(self, draws: Sequence[Draw], now: float) -> list[Standing]:
        before = [max(0.0, self._full_at.get(each.bucket, now) - now) for each in draws]
        waits = [
            wait if wait > ROUNDING_S else 0.0
            for each, full_in in zip(draws, before, strict=True)
            for wait in (full_in + each.token_s - PERIOD_S,)
        ]
        granted = not any(waits)
        standings = []
        for each, full_in, wait in zip(draws, before, waits, strict=True):
            after = full_in + each.token_s if granted and each.taken else full_in
            if granted and each.taken:
                self._full_at[each.bucket] = now + after
            standings.append(Standing(draw=each, full_in_s=after, retry_in_s=wait))
        self._sweep(now)
        return standings

    def _sweep(self, now: float) -> None:
        """Forget full buckets each time their number has doubled."""
        if len(self._full_at) >= self._sweep_at:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
            self._sweep_at = max(SWEEP_AT, 2 * len(self._full_at))


# The same arithmetic in one round trip; Redis's clock counts, whatever the replicas' clocks say.
SCRIPT = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1000000
local period = tonumber(ARGV[1])
local token, full_in, waits, granted = {}, {}, {}, true
for i, key in ipairs(KEYS) do
    token[i] = period / ARGV[2 * i + 1]
    full_in[i] = math.max(0, (redis.call('GET', key) or now) - now)
    waits[i] = full_in[i] + token[i] - period
    if waits[i] <= tonumber(ARGV[2]) then waits[i] = 0 end
    granted = granted and waits[i] == 0
end
local found = {}
for i, key in ipairs(KEYS) do
    if granted and ARGV[2 * i + 2] == '1' then
        full_in[i] = full_in[i] + token[i]
        redis.call('SET', key, string.format('%.6f', now + full_in[i]),
                   'PX', math.ceil(full_in[i] * 1000))
    end
    found[2 * i - 1] = string.format('%.6f', full_in[i])
    found[2 * i] = string.format('%.6f', waits[i])
end
return found
"""


class RedisBuckets:
    """Buckets that all replicas share; while Redis is away, each replica counts for itself."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        )
        self._script = self._redis.register_script(SCRIPT)
        self._local = LocalBuckets()
        self._away_until = 0.0

    async def draw(self, draws: Sequence[Draw]) -> list[Standing]:
        """Take all of the tokens, or none if one is missing."""
        if time.monotonic() < self._away_until:
            return await self._local.draw(draws)
        arguments: list[str | float] = [PERIOD_S, ROUNDING_S]
        for each in draws:
            arguments += [each.per_minute, "1" if each.taken else "0"]
        keys = [REDIS_PREFIX + each.bucket for each in draws]
        try:
            found = [float(text) for text in await self._script(keys=keys, args=arguments)]
        except (RedisError, OSError) as error:
            self._away_until = time.monotonic() + REDIS_BACK_OFF_S
            log.warning("rate limits are counted in this process: %s", type(error).__name__)
            return await self._local.draw(draws)
        return [
            Standing(draw=each, full_in_s=full_in, retry_in_s=wait)
            for each, full_in, wait in zip(draws, found[::2], found[1::2], strict=True)
        ]

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def open_buckets(url: str) -> Buckets:
    """The buckets that a setting names: Redis's URL, or `memory://`."""
    return RedisBuckets(url) if url.startswith(("redis://", "rediss://")) else LocalBuckets()
