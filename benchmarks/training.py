"""A build as a subject: its config resolved, its run watched, its waypoints kept and chosen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.data import BenchmarkError
from benchmarks.protocols import by_protocol, draw_episodes, measure
from benchmarks.recipe import Recipe
from benchmarks.results import Accuracy
from benchmarks.stock import Stock
from benchmarks.trace import Trace
from ml.algorithms import ALGORITHMS
from ml.errors import InvalidConfig
from ml.learner import MetaLearner
from ml.types import Progress, Teacher

SELECTION_PROTOCOL, SELECTION_SHOTS, SELECTION_EPISODES = "serving", 5, 100
"""How waypoints are judged on validation classes, on episodes of their own."""

SMOKE_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "free": {
        "outer_steps": 4,
        "warm_up_steps": 1,
        "tasks_per_step": 2,
        "generator_width": 4,
        "latent_dim": 8,
        "images_per_class": 6,
        "replay_shots": 1,
        "replay_queries": 5,
        "replay_max_batches": 2,
        "replay_episodes": 2,
        "save_every": 2,
    },
    "multi_teacher": {
        "images": 40,
        "batch_images": 20,
        "refine_steps": 2,
        "steps": 40,
        "batch_size": 16,
        "save_every": 20,
    },
}
"""Builds that end in seconds, by algorithm."""


DEFAULT_PRESETS: Mapping[str, str] = {"free": "paper", "multi_teacher": "small"}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Waypoint:
    """A meta-learner as it was after some steps."""

    step: int
    learner: MetaLearner


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trained:
    """What a run delivered, and what it told on its way."""

    learner: MetaLearner
    waypoints: tuple[Waypoint, ...]
    """Of the way and, last, of the end; none unless they were asked for."""
    trace: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Selection:
    """The waypoint that was best on validation classes."""

    chosen: Waypoint
    facts: Mapping[str, Any]


def build_settings(options: Mapping[str, Any], recipe: Recipe) -> Mapping[str, Any]:
    """The options with every field of the algorithm's config written out.

    Raises:
        BenchmarkError: if the algorithm refuses the config.
    """
    algorithm = recipe.subject["kind"]
    config = {**options["config"], **(SMOKE_CONFIGS[algorithm] if recipe.smoke else {})}
    try:
        resolved = asdict(ALGORITHMS[algorithm].configure(config))
    except InvalidConfig as error:
        raise BenchmarkError(f"Recipe {recipe.name}: {error}.") from error
    preset = options["config"].get("preset", DEFAULT_PRESETS[algorithm])
    return {"preset": preset, "config": resolved, "waypoints": options["waypoints"]}


def run_build(
    teachers: Sequence[Teacher],
    config: Mapping[str, Any],
    *,
    seed: int,
    device: torch.device,
    with_waypoints: bool,
    algorithm: str = "free",
    train: Callable[..., MetaLearner] | None = None,
) -> Trained:
    """Run an algorithm once.

    Waypoints are only put aside here: judging them is not part of the build's time.

    Args:
        teachers: on `device`.
        config: every field of the algorithm's config.
        seed: of the run's only source of randomness.
        device: where to compute.
        with_waypoints: whether to keep what the run offers at its boundaries.
        algorithm: a key of ml.algorithms.ALGORITHMS.
        train: what stands for it.
    """
    waypoints: list[Waypoint] = []

    def keep(step: int, learner: MetaLearner) -> None:
        waypoints.append(Waypoint(step=step, learner=learner))

    chosen = ALGORITHMS[algorithm]
    resolved = chosen.configure(config)
    trace, last_step = Trace(), 0

    def report(progress: Progress) -> None:
        nonlocal last_step
        last_step = progress.total_steps
        trace(progress)

    learner = (train or chosen.train)(
        teachers,
        resolved,
        rng=torch.Generator().manual_seed(seed),
        device=device,
        report=report,
        **({"offer": keep} if with_waypoints else {}),
    )
    assert isinstance(learner, MetaLearner), "the ensemble is a subject of another kind"
    facts = trace.facts()
    if with_waypoints:
        keep(last_step, learner)
    return Trained(learner=learner, waypoints=tuple(waypoints), trace=facts)


def select(stock: Stock, recipe: Recipe, waypoints: Sequence[Waypoint]) -> Selection:
    """Judge waypoints on validation classes; of equals the earliest wins.

    The value that chose is the best of several, so it is optimistic and named `peak`.
    """
    split = stock.split(recipe, "validation")
    rows = draw_episodes(
        recipe,
        split,
        SELECTION_SHOTS,
        episodes=min(SELECTION_EPISODES, recipe.episodes),
        purpose="selection",
    )
    accuracies: list[Accuracy] = []
    for waypoint in waypoints:
        contestant = by_protocol(waypoint.learner)[SELECTION_PROTOCOL]
        accuracies.append(measure(contestant(split), rows, SELECTION_SHOTS))
    best = max(range(len(waypoints)), key=lambda place: accuracies[place].mean)
    facts = {
        "step": waypoints[best].step,
        "peak": asdict(accuracies[best]),
        "split": "validation",
        "protocol": SELECTION_PROTOCOL,
        "n_shot": SELECTION_SHOTS,
        "curve": [
            {"step": waypoint.step, "accuracy": accuracy.mean}
            for waypoint, accuracy in zip(waypoints, accuracies, strict=True)
        ],
    }
    return Selection(chosen=waypoints[best], facts=facts)
