"""Ask all dependencies at once, and answer in time even if one of them hangs."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

from celery import Celery

from pool.database.session import Database
from pool.probes import Away, probe_broker, probe_database, probe_store, probe_workers
from pool.settings import Settings
from pool.storage.store import ObjectStore

WITHIN_S = 2.0
REMEMBERED_S = 1.0
"""However often an orchestrator asks, the dependencies are asked no more often than that."""
REQUIRED = frozenset({"database", "storage"})
"""Without a broker the API takes uploads and builds all the same: the sweep sends their messages
when it is back. Without workers they wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How one dependency is."""

    state: Literal["ok", "away"]
    detail: str
    ms: float


class Readiness:
    """The dependencies of one API process, each asked by at most one thread at a time."""

    def __init__(
        self, settings: Settings, database: Database, store: ObjectStore, celery: Celery
    ) -> None:
        self._probes = {
            "database": partial(probe_database, database),
            "storage": partial(probe_store, store),
            "broker": partial(probe_broker, settings, celery),
            "workers": partial(probe_workers, settings, database),
        }
        # Its own threads: those of requests may all be busy.
        self._threads = ThreadPoolExecutor(len(self._probes), thread_name_prefix="readiness")
        self._asked: dict[str, Future[Found]] = {}
        self._last: tuple[float, Mapping[str, Found]] | None = None

    async def look(self) -> Mapping[str, Found]:
        """How each dependency is, within WITHIN_S."""
        if self._last is not None and time.monotonic() - self._last[0] < REMEMBERED_S:
            return self._last[1]
        for name, probe in self._probes.items():
            if name not in self._asked:
                self._asked[name] = self._threads.submit(_ask, probe)
        asked = dict(self._asked)
        await asyncio.wait([asyncio.wrap_future(each) for each in asked.values()], timeout=WITHIN_S)
        found = {name: self._result(name, each) for name, each in asked.items()}
        self._last = (time.monotonic(), found)
        return found

    def _result(self, name: str, asked: Future[Found]) -> Found:
        """What was found, or that the answer is still awaited: then nothing more is asked."""
        if not asked.done():
            return Found(state="away", detail="no answer in time", ms=WITHIN_S * 1000)
        if self._asked.get(name) is asked:
            del self._asked[name]
        return asked.result()

    def close(self) -> None:
        """Ask nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _ask(probe: partial[str]) -> Found:
    started = time.perf_counter()
    state: Literal["ok", "away"] = "ok"
    try:
        detail = probe()
    except Away as error:
        state, detail = "away", str(error)
    return Found(state=state, detail=detail, ms=round((time.perf_counter() - started) * 1000, 1))
