"""What happens between the signal to stop and the web server's own handling of it.

The web server stops listening, finishes what is under way, and would wait for event streams that
never end; so those are told to end first. With `drain_s` the process says that it is unready and
goes on serving for a while before, so that a load balancer sends nothing to a closed door.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Stop:
    """Stands in front of the web server's signal handlers."""

    def __init__(self, begin: Callable[[], None], *, drain_s: float) -> None:
        self._begin, self._drain_s = begin, drain_s
        self._loop = asyncio.get_running_loop()
        self._asked = False
        self.before = {number: signal.getsignal(number) for number in SIGNALS}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Begin to stop at the first signal; a second one is passed on at once."""
        first, self._asked = not self._asked, True
        if first:
            self._loop.call_soon_threadsafe(self._begin)
        if first and self._drain_s:
            later = (self._drain_s, self._pass_on, number, None)
            self._loop.call_soon_threadsafe(self._loop.call_later, *later)
        else:
            self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        handler = self.before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)


@contextmanager
def before_stopping(begin: Callable[[], None], *, drain_s: float) -> Iterator[None]:
    """Call `begin` on the running loop at the first signal; pass the signal on after `drain_s`.

    Outside the main thread, where no signal arrives, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = _Stop(begin, drain_s=drain_s)
    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in stop.before.items():
            signal.signal(number, handler)
