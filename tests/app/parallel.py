"""Many clients at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

AT_ONCE = 50


def at_once(ask: Callable[[int], httpx.Response], n: int = AT_ONCE) -> list[httpx.Response]:
    """Ask from so many threads that start together."""
    start = threading.Barrier(n)

    def asked(number: int) -> Any:
        start.wait()
        return ask(number)

    with ThreadPoolExecutor(n) as threads:
        return list(threads.map(asked, range(n)))
