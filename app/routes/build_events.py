"""A build's story: as server-sent events, or page by page for clients that cannot hold a stream."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Self

from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.deps import BuildReader, DatabaseDep
from app.errors import responses
from app.threads import ThreadedRoute
from app.waiting import FollowerDep, WaitS, visible_build
from pool import errors
from pool.database.tables import JobEventRow

router = APIRouter(prefix="/v1/builds", tags=["builds"], route_class=ThreadedRoute)

SILENCE_S = 10.0
"""How long a stream waits at a time."""
RETRY_MS = 2000


class EventOut(BaseModel):
    """One event: the same three fields as the stream's `id`, `event` and `data`."""

    seq: int = Field(description="1, 2, 3 ... without gaps.")
    event: str = Field(description="`progress`, `log` or `status`.")
    data: dict[str, Any]

    @classmethod
    def of(cls, row: JobEventRow) -> Self:
        """The record's public side."""
        return cls(seq=row.seq, event=row.kind, data={"at": row.at.isoformat(), **row.payload})


class EventPage(BaseModel):
    """What happened since."""

    items: list[EventOut]
    next: int = Field(description="Send it as `after` to get what follows.")
    over: bool = Field(description="Whether nothing will follow.")


@router.get(
    "/{build_id}/events",
    response_class=EventSourceResponse,
    responses=responses(errors.BuildNotFound, errors.RoleRequired, errors.TooManyFollowers),
)
async def follow_build(
    follower: FollowerDep,
    last_event_id: Annotated[int, Header(ge=0, lt=2**31)] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """The build's story as server-sent events, from `Last-Event-ID` on, until it is over.

    A server that stops ends the stream with a `retry:` line: reconnect with `Last-Event-ID`. So
    does the end of the key, without that line, and before anything that happens after it.
    """
    seen, over = last_event_id, False
    while not over:
        events, over = await follower.after(seen, wait_s=SILENCE_S)
        for row in events:
            event, seen = EventOut.of(row), row.seq
            yield ServerSentEvent(data=event.data, event=event.event, id=str(event.seq))
        if follower.ended:
            return
        if events or over:
            continue
        if follower.dismissed:
            yield ServerSentEvent(comment="the server stops; reconnect", retry=RETRY_MS)
            return


@router.get(
    "/{build_id}/events/poll",
    responses=responses(errors.BuildNotFound, errors.RoleRequired, errors.TooManyFollowers),
)
async def poll_build(
    build_id: str,
    follower: FollowerDep,
    database: DatabaseDep,
    caller: BuildReader,
    after: Annotated[
        int, Query(ge=0, lt=2**31, description="`next` of the answer before; 0 for the beginning.")
    ] = 0,
    wait_s: WaitS = 20.0,
) -> EventPage:
    """The same events without a stream: answers as soon as there are any, or after `wait_s`."""
    events, over = await follower.after(after, wait_s=wait_s)
    if follower.ended:
        await run_in_threadpool(visible_build, database, caller, build_id)  # says what ended it
    items = [EventOut.of(row) for row in events]
    return EventPage(items=items, next=items[-1].seq if items else after, over=over)
