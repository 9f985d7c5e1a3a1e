"""Teachers out of a pool, and one network's weights as a teacher, a meta-learner or a mean."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.data import BenchmarkError
from benchmarks.pool import Pool
from benchmarks.protocols import Contestant, by_features, by_protocol
from benchmarks.stock import Stock
from ml.learner import MetaLearner
from ml.types import Teacher


def mean_tensors(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Element-wise mean of state dicts; of counters, the first's."""
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }


def some_teachers(pool: Pool, n_teachers: int, seed: int) -> list[Teacher]:
    """So many of the pool's teachers, drawn without replacement; all of them for 0.

    Raises:
        BenchmarkError: if the pool has fewer.
    """
    if n_teachers == 0:
        return list(pool.teachers)
    if not 0 < n_teachers <= len(pool.teachers):
        raise BenchmarkError(
            f"The pool {pool.name} has {len(pool.teachers)} teachers, n_teachers is {n_teachers}."
        )
    rng = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(pool.teachers), generator=rng)[:n_teachers]
    return [pool.teachers[place] for place in drawn.tolist()]


def contestants_of(stock: Stock, teacher: Teacher) -> dict[str, Contestant]:
    """A teacher's features, and its weights as an initialisation."""
    return {
        **by_features(lambda split: stock.features(teacher, split)),
        **by_protocol(as_meta_learner(teacher)),
    }


def as_meta_learner(teacher: Teacher) -> MetaLearner:
    """A teacher's weights as an initialisation, its head included."""
    return MetaLearner(
        backbone=teacher.backbone,
        n_way=teacher.n_classes,
        image_size=teacher.image_size,
        channels=teacher.channels,
        mean=teacher.mean,
        std=teacher.std,
        tensors=teacher.module.state_dict(),
    )


def as_teacher(learner: MetaLearner) -> Teacher:
    """A meta-learner's weights as a frozen network."""
    return Teacher(
        module=learner.module(),
        backbone=learner.backbone,
        class_names=tuple(map(str, range(learner.n_way))),
        image_size=learner.image_size,
        channels=learner.channels,
        mean=learner.mean,
        std=learner.std,
    )
