"""The meta-training algorithms a recipe can name, each with its config and its `train`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ml.algorithms import free, multi_teacher
from ml.learner import MetaLearner


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One entry of the allow-list of recipes."""

    configure: Callable[[Mapping[str, Any]], Any]
    """Plain settings to the algorithm's frozen config; raises InvalidConfig."""
    train: Callable[..., MetaLearner]
    """(teachers, config, *, rng, device, report, save, resume_from) -> meta-learner."""


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "free": Algorithm(configure=free.configure, train=free.train),
        "multi_teacher": Algorithm(configure=multi_teacher.configure, train=multi_teacher.train),
    }
)
