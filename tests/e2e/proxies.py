"""A wire between a deployment and a service that others use too: to be cut, mended, or held."""

import asyncio
import re
import socket
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

BLOCK = 64 * 1024


class Proxy:
    """Listens on a port of its own and passes bytes on, to host:port or to a Unix socket."""

    def __init__(self, target: tuple[str, int] | Path) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._wanted: bytes | None = None
        self._held = threading.Event()
        self._released = asyncio.Event()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.mend()

    @property
    def address(self) -> str:
        """host:port to connect to instead of the service."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection and refuse new ones, as a service that is stopped does."""
        self._do(self._cut())

    def mend(self) -> None:
        """Take connections, again."""
        self._do(self._listen())

    def hold(self, request: bytes) -> threading.Event:
        """Keep back what begins so (a pattern) on its way to the service; the event is set then."""
        self._wanted, self._held, self._released = request, threading.Event(), asyncio.Event()
        return self._held

    def release(self) -> None:
        """Let what is held go on its way."""
        self._wanted = None
        self._loop.call_soon_threadsafe(self._released.set)

    def close(self) -> None:
        """Stop."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        writers = [writer]
        try:
            if isinstance(self._target, Path):
                there, there_writer = await asyncio.open_unix_connection(self._target)
            else:
                there, there_writer = await asyncio.open_connection(*self._target)
            writers.append(there_writer)
            ways = (self._pass_on(reader, there_writer, True), self._pass_on(there, writer, False))
            both = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in both:
                    way.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            for each in writers:
                each.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outward: bool
    ) -> None:
        while block := await reader.read(BLOCK):
            if outward and self._wanted is not None and re.match(self._wanted, block):
                self._held.set()
                await self._released.wait()
            writer.write(block)
            await writer.drain()
