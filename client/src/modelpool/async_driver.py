"""Does what calls and flows ask for, with httpx and asyncio."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import httpx

from modelpool import calls, flows
from modelpool.credentials import Credentials
from modelpool.errors import Unreachable
from modelpool.events import SILENCE_S, Event, Story
from modelpool.transport import answer_of, options, request_parts, unreachable
from modelpool.wire import Answer, Call, Flow, Patience, Pause, answered, refusal_of

T = TypeVar("T")


class AsyncDriver:
    """Connections to one server."""

    def __init__(
        self,
        login: Credentials,
        *,
        patience: Patience,
        on_pause: Callable[[Pause], None],
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.login = login
        self.patience = patience
        self._on_pause = on_pause
        self._http = httpx.AsyncClient(**options(login), transport=transport)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def do(self, call: Call[T]) -> T:
        """`Client.do`."""
        return await self.run(answered(call, self.patience))

    async def run(self, flow: Flow[T]) -> T:
        """`Client.run`."""
        try:
            step = next(flow)
            while True:
                try:
                    came = await self._take(step)
                except Unreachable as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(came)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _take(self, step: Call[Any] | Pause) -> Answer | None:
        if isinstance(step, Call):
            return await self._exchange(step)
        self._on_pause(step)
        await asyncio.sleep(step.seconds)
        return None

    async def _exchange(self, call: Call[Any]) -> Answer:
        parts = request_parts(call, self.login)
        if call.body is not None:
            parts["content"] = _in_threads(call.body.blocks())
        try:
            response = await self._http.send(self._http.build_request(**parts))
            return answer_of(response, is_file=call.is_file)
        except httpx.TransportError as error:
            raise unreachable(self.login.url, error) from error

    async def _list(self, path: str, **where: str | None) -> AsyncIterator[Any]:
        cursor: str | None = None
        while True:
            page = await self.run(flows.next_page(path, cursor, self.patience, **where))
            for item in page["items"]:
                yield item
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def _stream(self, build_id: str, story: Story) -> AsyncIterator[Event]:
        parts = request_parts(calls.events(build_id, after=story.seen), self.login)
        timeout = httpx.Timeout(SILENCE_S)
        try:
            async with self._http.stream(**parts, timeout=timeout) as response:
                if response.is_error:
                    await response.aread()
                    raise refusal_of(answer_of(response))
                async for line in response.aiter_lines():
                    if (event := story.feed(line)) is not None:
                        yield event
        except httpx.TransportError as error:
            raise unreachable(self.login.url, error) from error


async def _in_threads(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """A file's blocks, read without holding up the event loop."""
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block
