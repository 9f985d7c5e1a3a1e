"""Who will be in a pool, drawn before anything is trained: all of it follows from one seed.

Each model's choices come from a stream of its own, so that more models, or some that lie, leave
the others as they were.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from benchmarks.data import BenchmarkError
from benchmarks.pools.config import PoolConfig
from benchmarks.pools.sources import Source

Corruption = Literal["fake", "mislabelled"]
CORRUPTIONS: tuple[Corruption, ...] = ("fake", "mislabelled")
PUBLISHED_MODELS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlan:
    """Some classes of a source."""

    source: str
    classes: tuple[int, ...]
    """Positions in the source's class names, in the order of the outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """One model to be made."""

    name: str
    backbone: str
    advertised: TaskPlan
    """What its manifest says that it tells apart."""
    learnt: TaskPlan | None
    """What it is trained on; None: nothing."""
    corruption: Corruption | None
    seed: int
    """Of its initial weights, label noise and batches."""
    claimed_accuracy: float | None
    """What a fake says of itself."""


def child_seed(seed: int, *path: str | int) -> int:
    """A seed for one purpose, as good as independent of those for other purposes."""
    text = "/".join(map(str, (seed, *path)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *path: str | int) -> torch.Generator:
    """A source of randomness for one purpose, on the CPU whatever device computes."""
    return torch.Generator().manual_seed(child_seed(seed, *path))


def draw_plan(config: PoolConfig, sources: Sequence[Source]) -> tuple[ModelPlan, ...]:
    """Draw every model's classes, backbone, seed and honesty.

    Args:
        config: settings; its seed is the only source of randomness.
        sources: the pool's domains and, marked as foreign, what only mislabelled models learn.

    Raises:
        BenchmarkError: if the sources do not suffice.
    """
    domains = [source for source in sources if not source.foreign]
    if not domains:
        raise BenchmarkError("A pool needs a source of images: --data PATH.")
    tasks = _disjoint(config, domains) if config.classes == "disjoint" else None
    n_models = len(tasks) if tasks is not None else config.models or PUBLISHED_MODELS
    corrupt = _draw_corrupt(config, n_models)
    plans = []
    for number in range(n_models):
        rng = stream(config.seed, "model", number)
        backbone = config.backbones[_draw_one(len(config.backbones), rng)]
        task = tasks[number] if tasks is not None else _overlapping(config, domains, rng)
        corruption = corrupt.get(number)
        low, high = config.claimed_accuracy
        claimed = low + (high - low) * torch.rand((), generator=rng).item()
        plans.append(
            ModelPlan(
                name=f"{task.source}-{backbone}-{number:03d}",
                backbone=backbone,
                advertised=task,
                learnt=_learnt(task, corruption, sources, stream(config.seed, "foreign", number)),
                corruption=corruption,
                seed=child_seed(config.seed, "training", number),
                claimed_accuracy=round(claimed, 3) if corruption == "fake" else None,
            )
        )
    return tuple(plans)


def _draw_one(n: int, rng: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=rng).item())


def _draw_some(n: int, n_drawn: int, rng: torch.Generator) -> list[int]:
    """Different numbers below n, in random order."""
    drawn: list[int] = torch.randperm(n, generator=rng)[:n_drawn].tolist()
    return drawn


def _draw_corrupt(config: PoolConfig, n_models: int) -> dict[int, Corruption]:
    """Which numbers are fake or mislabelled; the shares are rounded to whole models."""
    n_fake = min(round(config.fake * n_models), n_models)
    n_mislabelled = min(round(config.mislabelled * n_models), n_models - n_fake)
    order = _draw_some(n_models, n_fake + n_mislabelled, stream(config.seed, "corrupt"))
    corrupt: dict[int, Corruption] = dict.fromkeys(order[:n_fake], "fake")
    corrupt.update(dict.fromkeys(order[n_fake:], "mislabelled"))
    return corrupt


def _overlapping(config: PoolConfig, domains: Sequence[Source], rng: torch.Generator) -> TaskPlan:
    """A domain uniformly, then its classes uniformly without replacement."""
    for domain in domains:
        _check_enough(domain, config.ways)
    domain = domains[_draw_one(len(domains), rng)]
    classes = _draw_some(len(domain.data.class_names), config.ways, rng)
    return TaskPlan(source=domain.name, classes=tuple(classes))


def _disjoint(config: PoolConfig, domains: Sequence[Source]) -> list[TaskPlan]:
    """Consecutive groups (PURER): the last of a domain may be smaller, but not a single class."""
    groups = []
    for domain in domains:
        _check_enough(domain, config.ways)
        n_classes = len(domain.data.class_names)
        for first in range(0, n_classes, config.ways):
            classes = tuple(range(first, min(first + config.ways, n_classes)))
            if len(classes) > 1:
                groups.append(TaskPlan(source=domain.name, classes=classes))
    wanted = config.models or len(groups)
    if wanted > len(groups):
        raise BenchmarkError(
            f"These sources have {len(groups)} disjoint groups of {config.ways} classes, "
            f"--models says {wanted}: ask for fewer, or use --classes overlapping."
        )
    return [groups[i] for i in sorted(_draw_some(len(groups), wanted, stream(config.seed, "some")))]


def _check_enough(source: Source, n_classes: int) -> None:
    there = len(source.data.class_names)
    if there < n_classes:
        raise BenchmarkError(
            f"{source.name} has {there} classes, a model needs {n_classes}: choose --ways {there} "
            "or fewer, or another source."
        )


def _learnt(
    task: TaskPlan, corruption: Corruption | None, sources: Sequence[Source], rng: torch.Generator
) -> TaskPlan | None:
    """The task itself; nothing for a fake; another source's classes for a mislabelled model."""
    if corruption is None:
        return task
    if corruption == "fake":
        return None
    foreign = [source for source in sources if source.foreign]
    others = foreign or [source for source in sources if source.name != task.source]
    if not others:
        raise BenchmarkError(
            "Mislabelled models learn from another source than they name: add --foreign PATH."
        )
    other = others[_draw_one(len(others), rng)]
    _check_enough(other, len(task.classes))
    drawn = _draw_some(len(other.data.class_names), len(task.classes), rng)
    return TaskPlan(source=other.name, classes=tuple(drawn))
