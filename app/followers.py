"""Everybody who waits for a job: one reader of SQL a process, however many they are.

A single task looks at all followed jobs twice a second in one query and keeps each one's latest
events, which its followers share. So the load on SQL grows with the jobs that are followed and what
happens to them, not with those who follow, and nobody who waits holds a thread. The same look finds
whose key has ended and who may not see the job any more.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from pool.database import jobs
from pool.database.following import Standing, Watch, standings, still_permitted
from pool.database.session import Database
from pool.database.tables import JobEventRow
from pool.errors import TooManyFollowers

log = logging.getLogger(__name__)

POLL_S = 0.5
EVENTS_A_READ = 500
EVENTS_KEPT = 500
"""Of each followed job, in memory; who is further behind reads SQL."""
RETRY_AFTER_S = 5
UNKNOWN = -1


@dataclass(slots=True)
class Story:
    """What the followers of one job share."""

    seq: int = UNKNOWN
    """Of the last event that happened, as far as this process knows."""
    over: bool = False
    latest: deque[JobEventRow] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    followers: int = 0

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self.changed.set()
        self.changed = asyncio.Event()

    def remembers(self, after: int) -> bool:
        """Whether everything since `after` is in memory."""
        return after >= self.seq or bool(self.latest and self.latest[0].seq <= after + 1)


class Follower:
    """One client's view of one job, for as long as they may have it."""

    def __init__(self, followers: "Followers", watch: Watch, story: Story) -> None:
        self._followers, self.watch, self.story = followers, watch, story
        self.ended = False
        """Whether their key has ended, or the job is not theirs to see: tell nothing more."""

    @property
    def dismissed(self) -> bool:
        """Whether the server is about to stop: say so and go."""
        return self._followers.closed

    async def after(self, seq: int, *, wait_s: float) -> tuple[Sequence[JobEventRow], bool]:
        """What happened after event `seq`, as soon as there is any, or nothing after `wait_s`.

        Returns:
            At most EVENTS_A_READ events in order, and whether the story ends with them.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        while self.story.seq <= seq and not self.story.over and await self._change(deadline):
            pass
        if self.ended:
            return [], False
        if self.story.seq <= seq:
            return [], self.story.over
        if self.story.remembers(seq):
            found = [event for event in self.story.latest if event.seq > seq][:EVENTS_A_READ]
        else:
            found, permitted = await run_in_threadpool(self._followers.read, self.watch, seq)
            if not permitted:
                self.ended = True
                return [], False
        return found, self.story.over and bool(found) and found[-1].seq >= self.story.seq

    async def end(self, *, wait_s: float) -> None:
        """Return when the job is over, after `wait_s` at the latest."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while not self.story.over and await self._change(deadline):
            pass

    async def _change(self, deadline: float) -> bool:
        """Wait for the story to go on; False when it is time to answer."""
        left_s = deadline - asyncio.get_running_loop().time()
        if left_s <= 0 or self.dismissed or self.ended:
            return False
        try:
            await asyncio.wait_for(self.story.changed.wait(), left_s)
        except TimeoutError:
            return False
        return not (self.dismissed or self.ended)


class Followers:
    """All followed jobs of one process; lives on its event loop."""

    def __init__(self, database: Database, *, most: int) -> None:
        self._database = database
        self.most = most
        self.count = 0
        self._stories: dict[str, Story] = {}
        self._present: set[Follower] = set()
        self._watch: asyncio.Task[None] | None = None
        self.closed = False

    @asynccontextmanager
    async def following(self, watch: Watch) -> AsyncIterator[Follower]:
        """Follow a job for as long as the context is open.

        Raises:
            TooManyFollowers: as many as this process takes are waiting already.
        """
        if self.count >= self.most:
            raise TooManyFollowers(
                f"{self.most} clients follow jobs here already. Ask for the record itself every "
                "few seconds instead, or follow again later.",
                retry_after_s=RETRY_AFTER_S,
            )
        self.count += 1
        job_id = watch.job_id
        story = self._stories.setdefault(job_id, Story())
        story.followers += 1
        try:
            async with story.opening:
                if story.seq == UNKNOWN:
                    await self._look([job_id])
            if self._watch is None or self._watch.done():
                self._watch = asyncio.create_task(self._keep_looking())
            follower = Follower(self, watch, story)
            self._present.add(follower)
            try:
                yield follower
            finally:
                self._present.discard(follower)
        finally:
            self.count -= 1
            story.followers -= 1
            if not story.followers and self._stories.get(job_id) is story:
                del self._stories[job_id]

    def close(self) -> None:
        """Dismiss everybody: the server stops."""
        self.closed = True
        for story in self._stories.values():
            story.wake()

    def read(self, watch: Watch, after: int) -> tuple[list[JobEventRow], bool]:
        """Events from SQL, for one who is behind what memory holds; whether they may have them."""
        with self._database.read() as session:
            events = jobs.events_after(session, watch.job_id, after, limit=EVENTS_A_READ)
            return events, bool(still_permitted(session, [watch]))

    async def _keep_looking(self) -> None:
        while self._stories:
            await asyncio.sleep(POLL_S)
            try:
                await self._look(list(self._stories))
            except SQLAlchemyError as error:
                # A database that is away for a moment must not end everybody's stream.
                log.warning("cannot look at followed jobs", extra={"cause": type(error).__name__})

    async def _look(self, job_ids: Sequence[str]) -> None:
        known = {job_id: self._stories[job_id].seq for job_id in job_ids}
        watching = list(self._present)
        found, permitted = await run_in_threadpool(
            self._news, known, {follower.watch for follower in watching}
        )
        for follower in watching:
            if follower.watch not in permitted:
                follower.ended = True
                follower.story.wake()
        for job_id, (standing, events) in found.items():
            story = self._stories.get(job_id)
            if story is not None and not story.over and story.seq == known[job_id]:
                _go_on(story, standing, events)

    def _news(
        self, known: Mapping[str, int], watches: Collection[Watch]
    ) -> tuple[dict[str, tuple[Standing, list[JobEventRow]]], set[Watch]]:
        """Of each job where it stands, and its events after the known one as far as one read goes.

        Standing first, events second: of a job that is over, the events are then complete. Who may
        have them comes last: whatever happened after a key's end is not told to its holder.
        """
        found = {}
        with self._database.read() as session:
            for job_id, standing in standings(session, known).items():
                after, events = known[job_id], []
                if after == UNKNOWN:
                    after = max(0, standing.last_seq - EVENTS_KEPT)
                if standing.last_seq > after:
                    events = jobs.events_after(session, job_id, after, limit=EVENTS_A_READ)
                found[job_id] = (standing, events)
            permitted = still_permitted(session, watches) if watches else set()
        return found, permitted


def _go_on(story: Story, standing: Standing, events: Sequence[JobEventRow]) -> None:
    story.latest.extend(events)
    story.seq = events[-1].seq if events else max(story.seq, 0)
    story.over = standing.over and story.seq >= standing.last_seq
    if events or story.over:
        story.wake()
