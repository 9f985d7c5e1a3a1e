"""Keep-alive clients that send one request over and over: a process of its own, nothing imported.

    python -m benchmarks.serving.clients < order.json

An order has `port`, `request` (the bytes as text in Latin-1), `clients`, `seconds`; the answer, on
one line, has `latencies` in seconds, `wall_s` and the `cpu_s` that this process took for it, so
that a client that was itself the limit shows.
"""

import asyncio
import json
import sys
import time
from typing import Any


async def client(port: int, request: bytes, until: float, latencies: list[float]) -> None:
    """One connection, one request under way at a time.

    Raises:
        RuntimeError: an answer was no success; a refusal is quicker than an answer.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if head[9:10] != b"2":
            raise RuntimeError(head.split(b"\r\n")[0].decode())
        lowered = head.lower()
        at = lowered.index(b"content-length:") + len(b"content-length:")
        await reader.readexactly(int(head[at : lowered.index(b"\r\n", at)]))
        latencies.append(time.perf_counter() - started)
    writer.close()


async def measured(order: dict[str, Any]) -> dict[str, Any]:
    """All clients at once; each ends with the answer that it waits for when time is over."""
    latencies: list[float] = []
    request = order["request"].encode("latin-1")
    cpu_s, started = time.process_time(), time.perf_counter()
    until = started + order["seconds"]
    await asyncio.gather(
        *(client(order["port"], request, until, latencies) for _ in range(order["clients"]))
    )
    return {
        "latencies": latencies,
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu_s,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measured(json.load(sys.stdin)))))  # noqa: T201
