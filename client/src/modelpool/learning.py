"""Builds, what they deliver, and asking that: the second half of `Client`."""

import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from modelpool import calls, flows
from modelpool.driver import Driver
from modelpool.errors import Refused, Unreachable
from modelpool.events import Event, Story
from modelpool.records import (
    Adaptation,
    Alias,
    AliasDetail,
    Build,
    Learner,
    LearnerDetail,
    Predictions,
)


class Anywhere(Enum):
    """Wherever an alias points now."""

    ANYWHERE = "anywhere"


ANYWHERE = Anywhere.ANYWHERE


class Learning(Driver):
    """Order meta-learners, follow their builds, ask them."""

    def builds(self) -> Iterator[Build]:
        """Builds, newest first."""
        return self._list("/v1/builds")

    def build(self, build_id: str) -> Build:
        """One build."""
        return self.do(calls.build(build_id))

    def start_build(
        self,
        pool: str = "default",
        *,
        algorithm: str | None = None,
        config: Mapping[str, Any] | None = None,
        models: Sequence[str] | None = None,
        seed: int | None = None,
        validation: Sequence[tuple[str, bytes]] = (),
    ) -> Build:
        """Order a meta-learner over a pool.

        Args:
            pool: its name or id.
            algorithm: None leaves it to the server.
            config: the recipe's numbers, such as `{"preset": "tiny"}`.
            models: ids; None takes all that are ready.
            seed: same seed and models, same result.
            validation: labelled images, encoded; the build's report is made on them.
        """
        order = calls.start_build(
            pool,
            algorithm=algorithm,
            config=config,
            models=models,
            seed=seed,
            validation=validation,
        )
        return self.do(order)

    def cancel_build(self, build_id: str) -> Build:
        """End a build; its process is gone within seconds."""
        return self.do(calls.cancel_build(build_id))

    def resume_build(self, build_id: str) -> Build:
        """Go on with a build that was canceled or failed, as another build."""
        return self.do(calls.resume_build(build_id))

    def wait_for_build(self, build_id: str) -> Build:
        """One build, once it has ended: look at its `status` and `error`."""
        return self.run(flows.ended(build_id, self.patience))

    def follow_build(self, build_id: str, *, after: int = 0) -> Iterator[Event]:
        """A build's events as they happen, until it has ended; broken streams are resumed."""
        story = Story(after)
        while not story.over:
            story.begin_stream()
            try:
                yield from self._stream(build_id, story)
            except (Unreachable, Refused) as error:
                story.break_off(error, self.patience)
            else:
                if story.brought_nothing and self.build(build_id)["status"] in flows.FINAL_BUILDS:
                    return
            if not story.over:
                time.sleep(story.pause_s(self.patience))

    def learners(self) -> Iterator[Learner]:
        """Meta-learners, newest first."""
        return self._list("/v1/meta-learners")

    def learner(self, learner_id: str) -> LearnerDetail:
        """One meta-learner, with the models that it learnt from."""
        return self.do(calls.learner(learner_id))

    def aliases(self, pool: str = "default") -> list[Alias]:
        """Names that point at meta-learners of the pool."""
        return self.do(calls.aliases(pool))["items"]

    def alias(self, pool: str, name: str) -> AliasDetail:
        """Where an alias points, and where it pointed when."""
        return self.do(calls.alias(pool, name))

    def set_alias(
        self,
        pool: str,
        name: str,
        learner_id: str,
        *,
        note: str | None = None,
        expected: str | Anywhere | None = ANYWHERE,
    ) -> Alias:
        """Point an alias at a meta-learner of the pool; made if it is new.

        Args:
            pool: its name or id.
            name: lower-case letters, digits, `.`, `_` and `-`.
            learner_id: where it shall point.
            note: why; the pool's members see it.
            expected: move it only if it points there now; None: only if it points nowhere.
        """
        where = {} if isinstance(expected, Anywhere) else {"expected_meta_learner_id": expected}
        return self.do(calls.set_alias(pool, name, learner_id, note=note, **where))

    def remove_alias(self, pool: str, name: str) -> None:
        """Let an alias point nowhere; its history stays."""
        self.do(calls.remove_alias(pool, name))

    def predict(
        self,
        learner_id: str,
        *,
        support: Sequence[tuple[str, bytes]],
        query: Sequence[bytes],
        teachers: int | None = None,
        coverage: float | None = None,
    ) -> Predictions:
        """Label query images by a few labelled ones.

        Args:
            learner_id: the meta-learner, or an alias: `pool@alias`.
            support: (label, encoded image); 2 to 50 labels.
            query: encoded images, 1 to 500.
            teachers: of an ensemble, how many answer.
            coverage: the share of queries to answer, up to 1; the least sure are abstained from.
        """
        question = calls.predict(
            learner_id, support=support, query=query, teachers=teachers, coverage=coverage
        )
        return self.do(question)

    def adapt(
        self,
        learner_id: str,
        *,
        support: Sequence[tuple[str, bytes]],
        teachers: int | None = None,
    ) -> Adaptation:
        """Fit a meta-learner to labelled images once, to `ask` it often within the hour."""
        return self.do(calls.adapt(learner_id, support=support, teachers=teachers))

    def ask(
        self, adaptation_id: str, *, query: Sequence[bytes], coverage: float | None = None
    ) -> Predictions:
        """Label query images by an adaptation."""
        return self.do(calls.ask(adaptation_id, query=query, coverage=coverage))

    def end_adaptation(self, adaptation_id: str) -> Adaptation:
        """Have the server forget one."""
        return self.do(calls.end_adaptation(adaptation_id))

    def export(self, learner_id: str, *, form: str = "torch") -> bytes:
        """A meta-learner as a file: `torch` (a zip with a script) or `onnx`; not of ensembles."""
        return self.do(calls.export(learner_id, form=form))

    def export_adaptation(self, adaptation_id: str, *, form: str = "torch") -> bytes:
        """An adaptation as such a file: a classifier of its classes."""
        return self.do(calls.export_adaptation(adaptation_id, form=form))
