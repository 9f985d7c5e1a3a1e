"""The pool's ensemble: nothing is learnt, the teachers themselves are kept and asked.

What a request gets is decided when it comes: ml/fewshot_ensemble.py ranks the members by its
support set and lets the best answer. docs/algorithms/ensemble.md has what that is worth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from ml.algorithms.settings import from_preset
from ml.ensemble import EnsembleLearner, nameless
from ml.errors import InvalidConfig, UnusablePool
from ml.learner import Offer
from ml.types import Progress, Report, SaveState, Teacher, TrainingState, discard, silent

__all__ = ["PRESETS", "EnsembleConfig", "configure", "train"]

COLLECT = "collect the teachers"
MAX_MEMBERS = 1_000
MAX_BYTES = 2 << 30
"""Of all members' tensors, which the API holds in memory: 17,000 Conv4 or 20 ResNet-50."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleConfig:
    """All numbers the ensemble depends on; all of them are ours."""

    max_teachers: int = 128
    """Teachers kept at most; of a larger pool so many are drawn."""
    teachers_asked: int = 10
    """Of them, how many answer a request that does not say; 0 is all."""
    temperature: float = 2.0
    """Of the teachers' softmax."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_teachers <= MAX_MEMBERS:
            raise InvalidConfig(f"max_teachers must be between 1 and {MAX_MEMBERS}")
        if not 0 <= self.teachers_asked <= MAX_MEMBERS:
            raise InvalidConfig(
                f"teachers_asked must be between 0, which is all, and {MAX_MEMBERS}"
            )
        if not 0 < self.temperature < math.inf:
            raise InvalidConfig("temperature must be positive")

    @property
    def effort(self) -> int:
        """Nothing is trained; as much as a report of half a minute goes with."""
        return 150_000


PRESETS: Mapping[str, EnsembleConfig] = MappingProxyType({"all": EnsembleConfig()})


def configure(settings: Mapping[str, Any]) -> EnsembleConfig:
    """A config from plain settings, as a recipe carries them.

    Raises:
        InvalidConfig: on an unknown preset or field, or a value that cannot be used.
    """
    return from_preset(settings, PRESETS, algorithm="ensemble", default="all", choices={})


def train(
    teachers: Sequence[Teacher],
    config: EnsembleConfig,
    *,
    rng: torch.Generator,
    device: torch.device,  # noqa: ARG001  # the signature of every algorithm, as below
    report: Report = silent,
    save: SaveState = discard,  # noqa: ARG001
    offer: Offer | None = None,  # noqa: ARG001
    resume_from: TrainingState | None = None,
) -> EnsembleLearner:
    """Keep a pool's teachers as they are.

    One is enough: its answers place images, too, and a request can be served at once.

    Args:
        teachers: where they lie, the ensemble lies; those with a single class are left out, since
            they say the same of every image.
        config: all numbers.
        rng: a CPU generator; draws from a pool of more than max_teachers.
        device: unused, as nothing is computed.
        report: called once, at the end.
        save: never called: there is nothing to go on from.
        offer: never called.
        resume_from: must be None, for the same reason.

    Raises:
        UnusablePool: if no teacher has two classes, or the members would fill the server's memory.
        InvalidConfig: if resume_from is given.
    """
    if resume_from is not None:
        raise InvalidConfig("the state to resume from belongs to another algorithm")
    usable = [teacher for teacher in teachers if teacher.n_classes >= 2]
    if not usable:
        raise UnusablePool("ensemble needs a model of at least 2 classes, and found none")
    order = torch.randperm(len(usable), generator=rng).tolist()
    kept = [usable[place] for place in sorted(order[: config.max_teachers])]
    refuse_too_large(kept)
    report(Progress(stage=COLLECT, step=1, total_steps=1, fraction=1.0, metrics={}))
    return EnsembleLearner(
        members=tuple(map(nameless, kept)),
        teachers_asked=config.teachers_asked,
        answer_temperature=config.temperature,
    )


def refuse_too_large(teachers: Sequence[Teacher]) -> None:
    """Refuse members whose tensors take more memory than a server should give them.

    Raises:
        UnusablePool: saying how many would do.
    """
    sizes = [sum(t.nbytes for t in teacher.module.state_dict().values()) for teacher in teachers]
    if sum(sizes) > MAX_BYTES:
        fitting = max(MAX_BYTES // max(sizes), 1)
        raise UnusablePool(
            f"the {len(teachers)} models take {sum(sizes) >> 20} MiB, an ensemble may take "
            f"{MAX_BYTES >> 20}; set max_teachers to {fitting}"
        )
