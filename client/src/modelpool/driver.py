"""Does what calls and flows ask for, with httpx."""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx

from modelpool import calls, flows
from modelpool.credentials import Credentials
from modelpool.errors import Unreachable
from modelpool.events import SILENCE_S, Event, Story
from modelpool.transport import answer_of, options, request_parts, unreachable
from modelpool.wire import Answer, Call, Flow, Patience, Pause, answered, refusal_of

T = TypeVar("T")


class Driver:
    """Connections to one server."""

    def __init__(
        self,
        login: Credentials,
        *,
        patience: Patience,
        on_pause: Callable[[Pause], None],
        transport: httpx.BaseTransport | None,
    ) -> None:
        self.login = login
        self.patience = patience
        self._on_pause = on_pause
        self._http = httpx.Client(**options(login), transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def do(self, call: Call[T]) -> T:
        """Exchange a call, again where that is safe and may help."""
        return self.run(answered(call, self.patience))

    def run(self, flow: Flow[T]) -> T:
        """Do what a flow asks for until it returns."""
        try:
            step = next(flow)
            while True:
                try:
                    came = self._take(step)
                except Unreachable as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(came)
        except StopIteration as end:
            result: T = end.value
            return result

    def _take(self, step: Call[Any] | Pause) -> Answer | None:
        if isinstance(step, Call):
            return self._exchange(step)
        self._on_pause(step)
        time.sleep(step.seconds)
        return None

    def _exchange(self, call: Call[Any]) -> Answer:
        parts = request_parts(call, self.login)
        if call.body is not None:
            parts["content"] = call.body.blocks()
        try:
            response = self._http.send(self._http.build_request(**parts))
            return answer_of(response, is_file=call.is_file)
        except httpx.TransportError as error:
            raise unreachable(self.login.url, error) from error

    def _list(self, path: str, **where: str | None) -> Iterator[Any]:
        cursor: str | None = None
        while True:
            page = self.run(flows.next_page(path, cursor, self.patience, **where))
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _stream(self, build_id: str, story: Story) -> Iterator[Event]:
        """The events of one stream until it ends."""
        parts = request_parts(calls.events(build_id, after=story.seen), self.login)
        timeout = httpx.Timeout(SILENCE_S)
        try:
            with self._http.stream(**parts, timeout=timeout) as response:
                if response.is_error:
                    response.read()
                    raise refusal_of(answer_of(response))
                for line in response.iter_lines():
                    if (event := story.feed(line)) is not None:
                        yield event
        except httpx.TransportError as error:
            raise unreachable(self.login.url, error) from error
