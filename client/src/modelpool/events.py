"""A build's story as server-sent events; reading them does no I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpool.errors import ModelpoolError, Refused
from modelpool.flows import FINAL_BUILDS
from modelpool.wire import AWAY, Patience

SILENCE_S = 45.0
"""A stream that brings nothing for so long, not even a comment, is opened again."""


@dataclass(frozen=True)
class Event:
    """One event of a build."""

    seq: int
    """1, 2, 3 ... without gaps."""
    kind: str
    """`progress`, `log` or `status`; a newer server may send others."""
    data: Mapping[str, Any]


class Story:
    """What was told of a build so far, over however many streams."""

    def __init__(self, after: int = 0) -> None:
        self.seen = after
        self.over = False
        self._fields: dict[str, str] = {}
        self._retry_s: float | None = None
        self._fruitless = 0
        self._begun_at = after

    def begin_stream(self) -> None:
        """A half event of a stream before is dropped: it comes again."""
        self._fields, self._begun_at = {}, self.seen

    @property
    def brought_nothing(self) -> bool:
        """Whether the present stream told no event."""
        return self.seen == self._begun_at

    def break_off(self, error: ModelpoolError, patience: Patience) -> None:
        """A stream failed: return if another one may help.

        Raises:
            ModelpoolError: the error, if none would.
        """
        passing = not isinstance(error, Refused) or error.status in AWAY
        if not passing or self._fruitless >= patience.tries:
            raise error

    def feed(self, line: str) -> Event | None:
        """The event that a stream's next line ends, if it ends one."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data" and "data" in self._fields:
                value = f"{self._fields['data']}\n{value}"
            if name == "retry" and value.isdigit():
                self._retry_s = int(value) / 1000
            if name:
                self._fields[name] = value
            return None
        fields, self._fields = self._fields, {}
        return self._event(fields) if "data" in fields else None

    def _event(self, fields: dict[str, str]) -> Event | None:
        event = Event(
            seq=int(fields.get("id", self.seen + 1)),
            kind=fields.get("event", "message"),
            data=json.loads(fields["data"]),
        )
        if event.seq <= self.seen:  # told already
            return None
        self.seen, self._fruitless = event.seq, 0
        self.over = event.kind == "status" and event.data.get("status") in FINAL_BUILDS
        return event

    def pause_s(self, patience: Patience) -> float:
        """How long to wait before the next stream: as the server said, longer if none helps."""
        pause = patience.back_off_s(self._fruitless)
        self._fruitless += 1
        return max(pause, self._retry_s or 0.0)
