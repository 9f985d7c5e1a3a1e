"""What rate limits cost a request: `python -m benchmarks.limits`.

Three real servers side by side, without limits, counting in memory and counting in Redis, are
asked in turns, so that whatever else the machine does falls on all alike. Prints requests a second
and their ratio to the first (a geometric mean), with 95 % t intervals over rounds.
"""

import argparse
import math
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from benchmarks.intervals import t_half_width

START_S = 60.0
KEY = f"mp_{secrets.token_hex(16)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--requests", type=int, default=10, help="a round")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    given = parser.parse_args()
    ways = {
        "no limits": {
            "MODELPOOL_REQUESTS_PER_MINUTE": "0",
            "MODELPOOL_FAILED_KEYS_PER_MINUTE": "0",
        },
        "in memory": {"MODELPOOL_RATE_LIMIT_URL": "memory://"},
        "in Redis": {"MODELPOOL_RATE_LIMIT_URL": given.redis},
    }
    with ExitStack() as stack:
        clients = {way: stack.enter_context(server(changed)) for way, changed in ways.items()}
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(given.rounds):
            for way, client in clients.items():
                rates[way].append(requests_a_second(client, given.requests))
    first = next(iter(rates.values()))
    for way, found in rates.items():
        logs = [math.log(rate / base) for rate, base in zip(found, first, strict=True)]
        ratio = math.exp(statistics.fmean(logs))
        sys.stdout.write(
            f"{way:10} {statistics.fmean(found):7.1f} ± {t_half_width(found) or 0:.1f} requests/s, "
            f"ratio {ratio:.3f} ± {ratio * (t_half_width(logs) or 0):.3f}\n"
        )


@contextmanager
def server(changed: dict[str, str]) -> Iterator[httpx.Client]:
    """A client of an embedded server of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as var:
        environment = {
            **{name: value for name, value in os.environ.items() if "MODELPOOL_" not in name},
            "MODELPOOL_VAR": var,
            "MODELPOOL_PORT": str(port),
            "MODELPOOL_BOOTSTRAP_KEY": KEY,
            "MODELPOOL_REQUESTS_PER_MINUTE": "1000000000",
            **changed,
        }
        subprocess.run([sys.executable, "-m", "pool.setup"], env=environment, check=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "app.main"], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            headers = {"Authorization": f"Bearer {KEY}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
                wait_for(client)
                yield client
        finally:
            process.terminate()
            process.wait()


def wait_for(client: httpx.Client) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            client.get("/healthz/ready").raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def requests_a_second(client: httpx.Client, n: int) -> float:
    """The cheapest request that needs a key, one after the other."""
    started = time.perf_counter()
    for _ in range(n):
        client.get("/v1/usage").raise_for_status()
    return n / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
