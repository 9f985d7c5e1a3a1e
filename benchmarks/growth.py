"""Lists, searches and build requests over 100,000 model records, against 1,000 of them.

    python -m benchmarks.growth

For each database, two deployments of their own: real servers (`python -m app.main`), asked over
HTTP by turns. One has 1,000 records in the pool asked about, the other 100,000, of five
organisations; four further pools hold a tenth as many each. Rows only: no weights are stored.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks.machine import describe_code, describe_machine
from benchmarks.results import RESULTS, write_record
from benchmarks.serving.deployments import POSTGRES, deployment, served
from benchmarks.serving.ratios import ratio_of_medians
from benchmarks.serving.records import fill

KIND = "growth"
RESULT = RESULTS / "growth.json"
DATABASES = ("sqlite", "postgresql")
PAGE = 50
FEW = 5
"""Records on a page of what both pools have so many of, whatever they have more."""
FLAT, BOUNDED, COUNTS = "flat", "bounded", "counts"
"""What a request promises: to be flat, to look at 2,000 records at most, or nothing: it counts."""


@dataclass(frozen=True, slots=True)
class Server:
    """One of the two that are compared."""

    http: httpx.Client
    pool_id: str
    cursors: Mapping[str, str]
    """Of the middle page and of the last one, by order."""
    model_id: str

    def get(self, path: str, **params: str | int) -> httpx.Response:
        """A page or a record."""
        return self.http.get(path, params=params).raise_for_status()

    def models(self, limit: int = PAGE, **params: str | int) -> httpx.Response:
        """A page of the pool's models."""
        return self.get("/v1/models", pool=self.pool_id, limit=limit, **params)


def order_build(server: Server) -> httpx.Response:
    """A build over the whole pool."""
    order = {"pool": server.pool_id, "recipe": {"algorithm": "multi_teacher"}, "seed": 1}
    return server.http.post("/v1/builds", json=order).raise_for_status()


REQUESTS: Mapping[str, tuple[str, Callable[[Server], httpx.Response]]] = {
    "first page": (FLAT, lambda on: on.models()),
    "middle page": (FLAT, lambda on: on.models(cursor=on.cursors["middle newest"])),
    "last page": (FLAT, lambda on: on.models(cursor=on.cursors["last newest"])),
    "all pools, first page": (FLAT, lambda on: on.get("/v1/models", limit=PAGE)),
    "by name, first page": (FLAT, lambda on: on.models(order="name")),
    "by name, middle page": (
        FLAT,
        lambda on: on.models(order="name", cursor=on.cursors["middle name"]),
    ),
    "search, 1 % begin so": (FLAT, lambda on: on.models(FEW, q="Site-07")),
    "search, one begins so": (FLAT, lambda on: on.models(q=on.cursors["a name"])),
    "search, none begins so": (FLAT, lambda on: on.models(q="nowhere")),
    "status=rejected (2 %)": (FLAT, lambda on: on.models(FEW, status="rejected")),
    "domain (5 %) and backbone": (
        BOUNDED,
        lambda on: on.models(FEW, domain="domain-3", backbone="conv4"),
    ),
    "one record": (FLAT, lambda on: on.get(f"/v1/models/{on.model_id}")),
    "build request": (FLAT, order_build),
    "GET /v1/pools": (COUNTS, lambda on: on.get("/v1/pools")),
    "GET /v1/usage": (COUNTS, lambda on: on.get("/v1/usage")),
}


def main() -> None:
    """Measure on both databases, print, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES)
    parser.add_argument("--postgres", default=POSTGRES, help="a server's SQLAlchemy URL")
    parser.add_argument("--place", type=Path, help="on a disk; else the temporary directory")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    facts = {"machine": describe_machine(torch.device("cpu")), "code": describe_code()}
    cases = [case for kind in options.databases for case in measured(kind, options)]
    for case in cases:
        print(json.dumps(case))  # noqa: T201
    sizes = {"small": options.small, "large": options.large, "rounds": options.rounds}
    write_record(options.out, KIND, {**sizes, **facts, "cases": cases})


def measured(kind: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every request on one database, by turns at the small and the large deployment."""
    with tempfile.TemporaryDirectory(dir=options.place) as place, ExitStack() as stack:
        small, large = (
            stack.enter_context(prepared(kind, Path(place) / str(size), size, options.postgres))
            for size in (options.small, options.large)
        )
        pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in REQUESTS}
        for turn in range(-1, options.rounds):  # the first warms both up
            for name, (_, ask) in REQUESTS.items():
                # Who goes first alternates, since the second may find the processor's caches cold.
                order = (small, large) if turn % 2 else (large, small)
                took = {id(server): seconds(ask, server) for server in order}
                if turn >= 0:
                    pairs[name].append((took[id(small)], took[id(large)]))
    return [summary(kind, name, found) for name, found in pairs.items()]


def summary(kind: str, name: str, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """A request's medians, and their ratio with its interval."""
    ratio, interval = ratio_of_medians(pairs)
    return {
        "database": kind,
        "request": name,
        "promises": REQUESTS[name][0],
        "ratio": ratio,
        "ratio_95": interval,
        "small_s": statistics.median(small for small, _ in pairs),
        "large_s": statistics.median(large for _, large in pairs),
    }


def seconds(ask: Callable[[Server], httpx.Response], server: Server) -> float:
    """From the request to the end of its answer."""
    started = time.perf_counter()
    ask(server)
    return time.perf_counter() - started


@contextmanager
def prepared(kind: str, place: Path, size: int, postgres: str) -> Iterator[Server]:
    """A server over so many records, with the cursors that the measurement uses."""
    with deployment(kind, place, postgres) as made:
        pool_id = fill(made.database_url, size)
        with (
            served(["-m", "app.main"], made.environment, place / "api.log") as (url, _),
            httpx.Client(base_url=url, headers=made.headers, timeout=300) as http,
        ):
            cursors = {}
            for order in ("newest", "name"):
                pages = list(walk(http, pool=pool_id, order=order))
                ids = [model["id"] for page in pages for model in page["items"]]
                assert len(set(ids)) == len(ids) == size, "the pages do not hold every record once"
                cursors[f"middle {order}"] = pages[len(pages) // 2]["next_cursor"]
                cursors[f"last {order}"] = pages[-2]["next_cursor"]
            middle = pages[len(pages) // 2]["items"][0]
            cursors["a name"] = middle["name"].upper()
            yield Server(http, pool_id, cursors, middle["id"])


def walk(http: httpx.Client, **params: str) -> Iterator[dict[str, Any]]:
    """Every page of a list."""
    cursor: dict[str, str] = {}
    while True:
        asked: dict[str, str | int] = {"limit": 200, **params, **cursor}
        page = http.get("/v1/models", params=asked).raise_for_status().json()
        yield page
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


if __name__ == "__main__":
    main()
