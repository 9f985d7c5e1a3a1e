"""Throughput and latency of the real server under load, against one that does nothing.

    python -m benchmarks.load

The server is `python -m app.main` over 1,000 model records; the one that does nothing is the same
FastAPI and uvicorn with a route that returns a constant. Both run at the same time and are asked by
turns, by keep-alive clients in a process of their own. What limits is told by how the two processes
spend the time: computing, or waiting. Linux only: /proc tells it.
"""

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import httpx
import psutil
import torch
from PIL import Image

from benchmarks.machine import ROOT, describe_code, describe_machine
from benchmarks.results import RESULTS, write_record
from benchmarks.serving.deployments import POSTGRES, Deployment, deployment, served
from benchmarks.serving.learners import SIDE, add_learner
from benchmarks.serving.ratios import ratio_of_medians
from benchmarks.serving.records import fill

KIND = "load"
RESULT = RESULTS / "load.json"
NOTHING = "nothing"
RECORDS = 1000
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
WAYS, QUERIES = 5, 5


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and one request to it as bytes."""

    port: int
    process: psutil.Process
    request: bytes


@dataclass(frozen=True, slots=True)
class Window:
    """What one stretch of load was like."""

    latencies: Sequence[float]
    wall_s: float
    client_cpu: float
    """Cores that the clients' process used."""
    server_cpu: float
    """Cores that the server used."""
    server_wanted: float
    """The same and what it would have used had a core been free: time on the run queue."""

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.wall_s

    def quantile(self, share: float) -> float:
        """A latency in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Measure, print, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=1.5, help="of one stretch of load")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--postgres", default=POSTGRES, help="a server's SQLAlchemy URL")
    parser.add_argument("--place", type=Path, help="on a disk; else the temporary directory")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    facts = {"machine": describe_machine(torch.device("cpu")), "code": describe_code()}
    with targets(options) as found:
        cases = [
            case
            for clients in options.clients
            for case in measured(found, clients, options.seconds, options.rounds)
        ]
    for case in cases:
        print(json.dumps(case))  # noqa: T201
    settings = {
        "database": options.database, "records": RECORDS, "rounds": options.rounds,
        "seconds": options.seconds,
    }  # fmt: skip
    write_record(options.out, KIND, {**settings, **facts, "cases": cases})


@contextlib.contextmanager
def targets(options: argparse.Namespace) -> Iterator[Mapping[str, Target]]:
    """Both servers, and what is asked of them."""
    with tempfile.TemporaryDirectory(dir=options.place) as name:
        place = Path(name)
        with deployment(options.database, place, options.postgres) as made:
            pool_id = fill(made.database_url, RECORDS)
            learner = add_learner(made.database_url, place / "var" / "objects", pool_id)
            program = ["-m", "benchmarks.serving.nothing"]
            with (
                served(["-m", "app.main"], made.environment, place / "api.log") as (url, api),
                served(program, made.environment, place / "nothing.log") as (other, idle),
            ):
                asked = requests_of(made, url, pool_id, learner)
                nothing = raw(httpx.Request("GET", f"{other}/healthz/live"))
                yield {
                    NOTHING: Target(port_of(other), idle, nothing),
                    **{name: Target(port_of(url), api, each) for name, each in asked.items()},
                }


def requests_of(made: Deployment, url: str, pool_id: str, learner: str) -> dict[str, bytes]:
    """What is asked of the real server."""
    listed = httpx.get(f"{url}/v1/models", headers=made.headers, timeout=60).raise_for_status()
    model_id = listed.json()["items"][0]["id"]
    gets = {
        "GET /healthz/live": "/healthz/live",
        "GET /v1/models/{id}": f"/v1/models/{model_id}",
        "GET /v1/models, 50 records": f"/v1/models?pool={pool_id}&limit=50",
    }
    found = {
        name: raw(httpx.Request("GET", f"{url}{path}", headers=made.headers))
        for name, path in gets.items()
    }
    rng = torch.Generator().manual_seed(0)
    images = [picture(rng) for _ in range(WAYS + QUERIES)]
    found[f"few-shot, {WAYS}-way 1-shot, {QUERIES} queries"] = raw(
        httpx.Request(
            "POST",
            f"{url}/v1/meta-learners/{learner}/predictions",
            headers=made.headers,
            data={"labels": [f"class {n}" for n in range(WAYS)]},
            files=[("support", ("s.png", each)) for each in images[:WAYS]]
            + [("query", ("q.png", each)) for each in images[WAYS:]],
        )
    )
    return found


def picture(rng: torch.Generator) -> bytes:
    """Grey noise as PNG."""
    pixels = torch.randint(0, 256, (SIDE, SIDE), generator=rng, dtype=torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def raw(request: httpx.Request) -> bytes:
    """A request as it goes over the wire."""
    request.read()
    fields = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    path = request.url.raw_path.decode()
    return f"{request.method} {path} HTTP/1.1\r\n{fields}\r\n".encode() + request.content


def port_of(url: str) -> int:
    """Where it listens."""
    port = urlparse(url).port
    assert port is not None
    return port


def measured(
    found: Mapping[str, Target], clients: int, seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """Every request at so many clients, each stretch beside one of the server that does nothing."""
    names = [name for name in found if name != NOTHING]
    pairs: dict[str, list[tuple[Window, Window]]] = {name: [] for name in names}
    for turn in range(-1, rounds):  # the first warms up
        for name in names:
            order = (NOTHING, name) if turn % 2 else (name, NOTHING)
            windows = {each: window(found[each], clients, seconds) for each in order}
            if turn >= 0:
                pairs[name].append((windows[NOTHING], windows[name]))
    return [summary(name, clients, each) for name, each in pairs.items()]


def window(target: Target, clients: int, seconds: float) -> Window:
    """One stretch of load."""
    order = {
        "port": target.port,
        "request": target.request.decode("latin-1"),
        "clients": clients,
        "seconds": seconds,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serving.clients"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    before, queued = used_s(target.process), waited_s(target.process)
    answer, _ = process.communicate(json.dumps(order))
    ran = used_s(target.process) - before
    # A thread that ended meanwhile takes its waiting along: too little is told, never too much.
    waited = sum(
        each - queued.get(thread, 0.0) for thread, each in waited_s(target.process).items()
    )
    if process.returncode:
        raise SystemExit("the clients failed; see above")
    found = json.loads(answer)
    wall_s = found["wall_s"]
    return Window(
        latencies=found["latencies"],
        wall_s=wall_s,
        client_cpu=found["cpu_s"] / wall_s,
        server_cpu=ran / wall_s,
        server_wanted=(ran + waited) / wall_s,
    )


def used_s(process: psutil.Process) -> float:
    """Processor seconds of a process, of ended threads too."""
    times = process.cpu_times()
    return float(times.user + times.system)


def waited_s(process: psutil.Process) -> dict[str, float]:
    """By thread, the seconds that it could run and no processor was free."""
    found = {}
    for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it has just ended
            found[path.parent.name] = int(path.read_text().split()[1]) / 1e9
    return found


def summary(name: str, clients: int, pairs: Sequence[tuple[Window, Window]]) -> dict[str, Any]:
    """A request's figures and their ratios to the server that does nothing."""
    case: dict[str, Any] = {"request": name, "clients": clients}
    rates = [(nothing.per_s, own.per_s) for nothing, own in pairs]
    case["per_s"] = statistics.median(own for _, own in rates)
    case["per_s_ratio"], case["per_s_ratio_95"] = ratio_of_medians(rates)
    for label, share in QUANTILES.items():
        times = [(nothing.quantile(share), own.quantile(share)) for nothing, own in pairs]
        case[f"{label}_s"] = statistics.median(own for _, own in times)
        case[f"{label}_ratio"], case[f"{label}_ratio_95"] = ratio_of_medians(times)
    own = [each for _, each in pairs]
    for fact in ("server_cpu", "server_wanted", "client_cpu"):
        case[fact] = statistics.median(getattr(each, fact) for each in own)
    case["cpu_ms"] = 1000 * statistics.median(each.server_cpu / each.per_s for each in own)
    case["nothing_cpu_ms"] = 1000 * statistics.median(
        each.server_cpu / each.per_s for each, _ in pairs
    )
    case["nothing_client_cpu"] = statistics.median(each.client_cpu for each, _ in pairs)
    return case


if __name__ == "__main__":
    main()
