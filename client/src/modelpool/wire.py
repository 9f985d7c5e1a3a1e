"""Requests and answers as plain values, and how refusals are read; nothing here does any I/O.

What takes several steps is a `Flow`: a generator that yields what it wants done (a `Call` to be
exchanged, a `Pause` to be slept) and is sent what came of it. The two clients, with and without
asyncio, only differ in how they do these two things.
"""

import itertools
import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Generic, TypeVar

from modelpool.errors import ModelpoolError, NotAuthorised, Refused, Unreachable, WrongServer

T = TypeVar("T")
BLOCK_BYTES = 256 * 1024
LATER = frozenset({"rate-limited", "request-in-flight", "concurrent-change"})
"""Refusals of requests that can succeed as they are, besides those by status."""
AWAY = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
UNAUTHORISED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True)
class FilePart:
    """Some bytes of a file as a request's body, read while they are sent."""

    path: Path
    offset: int
    size_bytes: int
    on_sent: Callable[[int], None] = lambda _: None
    """Told how many bytes of the part were handed over so far."""

    def blocks(self) -> Iterator[bytes]:
        """The bytes, from the part's beginning at each call.

        Raises:
            ModelpoolError: the file has become shorter.
        """
        left = self.size_bytes
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while left:
                block = file.read(min(BLOCK_BYTES, left))
                if not block:
                    raise ModelpoolError("The file changed while it was sent; push it again.")
                left -= len(block)
                yield block
                self.on_sent(self.size_bytes - left)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and the type of the JSON that answers it."""

    method: str
    path: str
    """Below the server's address, or a whole URL."""
    query: Mapping[str, str | int | float] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str | Sequence[str]] | None = None
    files: Sequence[tuple[str, tuple[str, bytes, str]]] | None = None
    body: FilePart | None = None
    with_key: bool = True
    repeatable: bool = True
    """Whether sending it twice does what sending it once does."""
    has_json: bool = True
    """Whether the answer is JSON: of a part that goes to an object store it is not."""
    is_file: bool = False
    """Whether the answer is a file's bytes."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: Any
    """The JSON; None where the body is none. A file's bytes where the call asked for a file."""


@dataclass(frozen=True)
class Pause:
    """Time to let pass before a request is sent again."""

    seconds: float
    why: str


@dataclass(frozen=True)
class Patience:
    """How often and how long to try again."""

    tries: int = 6
    first_s: float = 0.5
    longest_s: float = 20.0
    """Of our own back-off."""
    longest_asked_s: float = 120.0
    """Of the pauses that a server asks for; a quota that comes back tomorrow is not waited for."""

    def back_off_s(self, attempt: int) -> float:
        """Doubling, with jitter, so that many clients do not come back at once."""
        full = min(self.longest_s, self.first_s * 2.0**attempt)
        return full * random.uniform(0.5, 1.0)  # noqa: S311  # no secret


Step = Call[Any] | Pause
Flow = Generator[Step, Any, T]


def answered(call: Call[T], patience: Patience) -> Flow[T]:
    """Exchange a call, again where that is safe and may help.

    Raises:
        Refused: the server said no, and would again.
        Unreachable: no answer came, however often it was tried.
        WrongServer: something else answers.
    """
    for attempt in itertools.count():
        last = attempt >= patience.tries - 1
        try:
            answer: Answer = yield call
        except Unreachable:
            if last or not call.repeatable:
                raise
            yield Pause(patience.back_off_s(attempt), "the server does not answer")
            continue
        if answer.status < HTTPStatus.BAD_REQUEST:
            check_answer(call, answer)
            content: T = answer.content
            return content
        refusal = refusal_of(answer)
        wait_s = None if last else pause_before_again(call, refusal, attempt, patience)
        if wait_s is None:
            raise refusal
        yield Pause(wait_s, refusal.title.lower() or f"the server answered {refusal.status}")
    raise AssertionError("unreachable")


def check_answer(call: Call[Any], answer: Answer) -> None:
    """Return if an answer below 400 is one of Modelpool's.

    Raises:
        WrongServer: it leads elsewhere, or is a page of something else.
    """
    if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        where = answer.headers.get("location", "elsewhere")
        raise WrongServer(f"The server sends this request on to {where}: log in to that address.")
    if call.has_json and answer.content is None:
        raise WrongServer("What answers there is no Modelpool server; check the address.")


def pause_before_again(
    call: Call[Any], refusal: Refused, attempt: int, patience: Patience
) -> float | None:
    """Seconds to wait before the same request may succeed; None where it will not."""
    later = refusal.code in LATER or refusal.status in AWAY
    if not later or not (call.repeatable or refusal.code in LATER):
        return None
    asked_s = refusal.retry_after_s
    if asked_s is None:
        return patience.back_off_s(attempt)
    return asked_s if asked_s <= patience.longest_asked_s else None


def refusal_of(answer: Answer) -> Refused:
    """An answer of 400 or more as an error; what is no problem document, by its status."""
    kind = NotAuthorised if answer.status in UNAUTHORISED else Refused
    problem = answer.content if isinstance(answer.content, dict) else {}
    said = str(problem.get("detail") or _by_status(answer.status))
    return kind(
        status=answer.status,
        code=str(problem.get("code") or f"http-{answer.status}"),
        title=str(problem.get("title") or ""),
        detail=said,
        faults=problem.get("errors") or (),
        request_id=problem.get("request_id"),
        retry_after_s=_seconds(answer.headers.get("retry-after")),
    )


def _by_status(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "no known status"
    return (
        f"The server answered {status} ({phrase}) and not as Modelpool does; check the address, "
        "and what stands between."
    )


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is not used by Modelpool."""
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None
