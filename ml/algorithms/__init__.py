"""The meta-training algorithms a recipe can name, each with its config and its `train`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ml.algorithms import ensemble, free, multi_teacher
from ml.delivered import Delivered


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One entry of the allow-list of recipes."""

    configure: Callable[[Mapping[str, Any]], Any]
    """Plain settings to the algorithm's frozen config; raises InvalidConfig."""
    train: Callable[..., Delivered]
    """(teachers, config, *, rng, device, report, save, resume_from) -> what is served."""


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "free": Algorithm(configure=free.configure, train=free.train),
        "ensemble": Algorithm(configure=ensemble.configure, train=ensemble.train),
        "multi_teacher": Algorithm(configure=multi_teacher.configure, train=multi_teacher.train),
    }
)
