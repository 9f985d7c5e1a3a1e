"""Builds, what they deliver, and asking that: the second half of `AsyncClient`."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from modelpool import calls, flows
from modelpool.async_driver import AsyncDriver
from modelpool.errors import Refused, Unreachable
from modelpool.events import Event, Story
from modelpool.learning import ANYWHERE, Anywhere
from modelpool.records import (
    Adaptation,
    Alias,
    AliasDetail,
    Build,
    Learner,
    LearnerDetail,
    Predictions,
)


class AsyncLearning(AsyncDriver):
    """Order meta-learners, follow their builds, ask them."""

    def builds(self) -> AsyncIterator[Build]:
        """`Client.builds`."""
        return self._list("/v1/builds")

    async def build(self, build_id: str) -> Build:
        """`Client.build`."""
        return await self.do(calls.build(build_id))

    async def start_build(
        self,
        pool: str = "default",
        *,
        algorithm: str | None = None,
        config: Mapping[str, Any] | None = None,
        models: Sequence[str] | None = None,
        seed: int | None = None,
        validation: Sequence[tuple[str, bytes]] = (),
    ) -> Build:
        """`Client.start_build`."""
        order = calls.start_build(
            pool,
            algorithm=algorithm,
            config=config,
            models=models,
            seed=seed,
            validation=validation,
        )
        return await self.do(order)

    async def cancel_build(self, build_id: str) -> Build:
        """`Client.cancel_build`."""
        return await self.do(calls.cancel_build(build_id))

    async def resume_build(self, build_id: str) -> Build:
        """`Client.resume_build`."""
        return await self.do(calls.resume_build(build_id))

    async def wait_for_build(self, build_id: str) -> Build:
        """`Client.wait_for_build`."""
        return await self.run(flows.ended(build_id, self.patience))

    async def follow_build(self, build_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """`Client.follow_build`."""
        story = Story(after)
        while not story.over:
            story.begin_stream()
            try:
                async for event in self._stream(build_id, story):
                    yield event
            except (Unreachable, Refused) as error:
                story.break_off(error, self.patience)
            else:
                if story.brought_nothing:
                    build = await self.build(build_id)
                    if build["status"] in flows.FINAL_BUILDS:
                        return
            if not story.over:
                await asyncio.sleep(story.pause_s(self.patience))

    def learners(self) -> AsyncIterator[Learner]:
        """`Client.learners`."""
        return self._list("/v1/meta-learners")

    async def learner(self, learner_id: str) -> LearnerDetail:
        """`Client.learner`."""
        return await self.do(calls.learner(learner_id))

    async def aliases(self, pool: str = "default") -> list[Alias]:
        """`Client.aliases`."""
        return (await self.do(calls.aliases(pool)))["items"]

    async def alias(self, pool: str, name: str) -> AliasDetail:
        """`Client.alias`."""
        return await self.do(calls.alias(pool, name))

    async def set_alias(
        self,
        pool: str,
        name: str,
        learner_id: str,
        *,
        note: str | None = None,
        expected: str | Anywhere | None = ANYWHERE,
    ) -> Alias:
        """`Client.set_alias`."""
        where = {} if isinstance(expected, Anywhere) else {"expected_meta_learner_id": expected}
        return await self.do(calls.set_alias(pool, name, learner_id, note=note, **where))

    async def remove_alias(self, pool: str, name: str) -> None:
        """`Client.remove_alias`."""
        await self.do(calls.remove_alias(pool, name))

    async def predict(
        self,
        learner_id: str,
        *,
        support: Sequence[tuple[str, bytes]],
        query: Sequence[bytes],
        teachers: int | None = None,
        coverage: float | None = None,
    ) -> Predictions:
        """`Client.predict`."""
        question = calls.predict(
            learner_id, support=support, query=query, teachers=teachers, coverage=coverage
        )
        return await self.do(question)

    async def adapt(
        self,
        learner_id: str,
        *,
        support: Sequence[tuple[str, bytes]],
        teachers: int | None = None,
    ) -> Adaptation:
        """`Client.adapt`."""
        return await self.do(calls.adapt(learner_id, support=support, teachers=teachers))

    async def ask(
        self, adaptation_id: str, *, query: Sequence[bytes], coverage: float | None = None
    ) -> Predictions:
        """`Client.ask`."""
        return await self.do(calls.ask(adaptation_id, query=query, coverage=coverage))

    async def end_adaptation(self, adaptation_id: str) -> Adaptation:
        """`Client.end_adaptation`."""
        return await self.do(calls.end_adaptation(adaptation_id))

    async def export(self, learner_id: str, *, form: str = "torch") -> bytes:
        """`Client.export`."""
        return await self.do(calls.export(learner_id, form=form))

    async def export_adaptation(self, adaptation_id: str, *, form: str = "torch") -> bytes:
        """`Client.export_adaptation`."""
        return await self.do(calls.export_adaptation(adaptation_id, form=form))
