"""What a recipe may measure: builds, and everything that a pool gives without meta-learning.

Dims: I images, D features.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from benchmarks.data import BenchmarkError
from benchmarks.protocols import (
    Contestant,
    by_features,
    by_protocol,
    draw_episodes,
    drawn_per_episode,
    made_per_episode,
    measure,
    seeing,
)
from benchmarks.recipe import Recipe
from benchmarks.served import served
from benchmarks.stock import Split, Stock, unit_features
from benchmarks.teachers import (
    as_teacher,
    contestants_of,
    mean_tensors,
    some_teachers,
)
from benchmarks.training import Waypoint, build_settings, run_build
from ml.algorithms.ensemble import EnsembleConfig, train
from ml.answers import answers_of
from ml.backbones import build, initialize
from ml.canvas import choose_canvas
from ml.evaluation import teacher_centroid
from ml.learner import MetaLearner

SELECTION_EPISODES, SELECTION_SHOTS = 200, 5


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Built:
    """A subject that is ready to be asked."""

    contestants: Mapping[str, Contestant]
    """By protocol."""
    waypoints: Sequence[Waypoint] | None = None
    """What a meta-training run offered on its way; None where nothing was meta-trained."""
    learner: MetaLearner | None = None
    """What it delivered, likewise."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One entry of the list of subjects."""

    build: Callable[[Stock, Recipe, Mapping[str, Any], int], Built]
    """(stock, recipe, resolved options, seed) -> what to ask."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Names and defaults, whose types are the options' types."""
    resolve: Callable[[Mapping[str, Any], Recipe], Mapping[str, Any]] | None = None
    """Turns options into all settings behind them, where there are more."""


def resolve_options(recipe: Recipe) -> dict[str, Any]:
    """The subject's options with defaults filled in, as a result keeps them.

    Raises:
        BenchmarkError: if the kind or an option is unknown, or a value has the wrong type.
    """
    given = dict(recipe.subject)
    name = given.pop("kind")
    if name not in KINDS:
        raise BenchmarkError(
            f"Recipe {recipe.name}: no subject is called {name!r}; choose among {', '.join(KINDS)}."
        )
    kind = KINDS[name]
    for option, value in given.items():
        if option not in kind.options:
            names = ", ".join(kind.options) or "none"
            raise BenchmarkError(
                f"Recipe {recipe.name}: {name} has no option {option!r}; it has: {names}."
            )
        if type(value) is not type(kind.options[option]):
            raise BenchmarkError(f"Recipe {recipe.name}: {option} has a value of the wrong type.")
    resolved = {**kind.options, **given}
    return {"kind": name, **(kind.resolve(resolved, recipe) if kind.resolve else resolved)}


def build_subject(stock: Stock, recipe: Recipe, options: Mapping[str, Any], seed: int) -> Built:
    """Make what the recipe asks for, from one seed.

    Args:
        stock: images and pools.
        recipe: which subject over what.
        options: as resolve_options gave them.
        seed: of all randomness that is the subject's own.

    Raises:
        BenchmarkError: if the subject cannot be asked under a protocol of the recipe, or data,
            pool or options do not suffice.
    """
    built = KINDS[options["kind"]].build(stock, recipe, options, seed)
    for protocol in recipe.protocols:
        if protocol not in built.contestants:
            raise BenchmarkError(
                f"Recipe {recipe.name}: {options['kind']} has no protocol {protocol!r}; it has "
                f"{', '.join(built.contestants)}."
            )
    return built


# Without a pool's knowledge.


def pixels(_stock: Stock, _recipe: Recipe, _options: Mapping[str, Any], _seed: int) -> Built:
    """No network: the pixels themselves are the features."""
    return Built(contestants=by_features(lambda split: split.images.flatten(1)))


def random(stock: Stock, recipe: Recipe, options: Mapping[str, Any], seed: int) -> Built:
    """A new initialisation in each episode, in the pool's image format."""
    canvas = choose_canvas(stock.pool(recipe).teachers, image_size=None, channels=None)

    def initialised(rng: torch.Generator) -> MetaLearner:
        module = build(
            options["backbone"],
            n_classes=recipe.ways,
            channels=canvas.channels,
            image_size=canvas.image_size,
        )
        initialize(module, rng)
        learner = MetaLearner(
            backbone=options["backbone"],
            n_way=recipe.ways,
            tensors=module.state_dict(),
            **asdict(canvas),
        )
        return learner.to(stock.device)

    makers: dict[str, Callable[[torch.Generator], Contestant]] = {
        "serving": lambda rng: by_protocol(initialised(rng))["serving"],
        "paper": lambda rng: by_protocol(initialised(rng))["paper"],
        "centroid": lambda rng: seeing(teacher_centroid(as_teacher(initialised(rng)))),
    }
    return Built(contestants={name: made_per_episode(make, seed) for name, make in makers.items()})


# Teachers as they are.


def single_teacher(stock: Stock, recipe: Recipe, options: Mapping[str, Any], seed: int) -> Built:
    """Another teacher in each episode: what one pool model is worth on average."""
    teachers = some_teachers(stock.pool(recipe), options["n_teachers"], seed)
    each = [contestants_of(stock, teacher) for teacher in teachers]
    return Built(
        contestants={
            protocol: drawn_per_episode([one[protocol] for one in each], seed)
            for protocol in each[0]
        }
    )


def best_teacher(stock: Stock, recipe: Recipe, options: Mapping[str, Any], seed: int) -> Built:
    """The teacher whose features do best on validation classes; for every protocol the same."""
    pool, split = stock.pool(recipe), stock.split(recipe, "validation")
    rows = draw_episodes(
        recipe,
        split,
        SELECTION_SHOTS,
        episodes=min(SELECTION_EPISODES, recipe.episodes),
        purpose="selection",
    )
    teachers = some_teachers(pool, options["n_teachers"], seed)
    accuracies = [
        measure(contestants_of(stock, teacher)["centroid"](split), rows, SELECTION_SHOTS).mean
        for teacher in teachers
    ]
    best = max(range(len(teachers)), key=accuracies.__getitem__)
    facts = {
        "chosen": pool.teacher_names[pool.teachers.index(teachers[best])],
        "chosen_among": len(teachers),
        "accuracy_that_chose_it": accuracies[best],
        "episodes_that_chose_it": len(rows),
    }
    return Built(contestants=contestants_of(stock, teachers[best]), facts=facts)


def ensemble(stock: Stock, recipe: Recipe, options: Mapping[str, Any], seed: int) -> Built:
    """Unit features of several teachers side by side, scaled to length 1 again."""
    teachers = some_teachers(stock.pool(recipe), options["n_teachers"], seed)

    def features_of(split: Split) -> Tensor:
        parts = torch.cat([stock.features(teacher, split) for teacher in teachers], dim=1)
        return parts / math.sqrt(len(teachers))

    return Built(contestants=by_features(features_of))


def answer_ensemble(stock: Stock, recipe: Recipe, options: Mapping[str, Any], seed: int) -> Built:
    """Hellinger vectors of several teachers' answers side by side, scaled to length 1 again."""
    teachers = some_teachers(stock.pool(recipe), options["n_teachers"], seed)

    def features_of(split: Split) -> Tensor:
        parts = [
            answers_of(
                teacher, split.images, temperature=options["temperature"], precision="float32"
            )
            for teacher in teachers
        ]
        return torch.cat(parts, dim=1).cpu() / math.sqrt(len(teachers))

    return Built(contestants=by_features(features_of))


def served_ensemble(stock: Stock, recipe: Recipe, options: Mapping[str, Any], seed: int) -> Built:
    """What the recipe `ensemble` builds over the whole pool, asked as the server asks it."""
    rng = torch.Generator().manual_seed(seed)
    config = EnsembleConfig(**{name: options[name] for name in asdict(EnsembleConfig())})
    learner = train(stock.pool(recipe).teachers, config, rng=rng, device=stock.device)
    return Built(contestants={"serving": served(learner)})


def weight_average(stock: Stock, recipe: Recipe, options: Mapping[str, Any], seed: int) -> Built:
    """The element-wise mean of several teachers' parameters and BatchNorm buffers."""
    teachers = some_teachers(stock.pool(recipe), options["n_teachers"], seed)
    kinds = {(t.backbone, t.n_classes, t.image_size, t.channels) for t in teachers}
    if len(kinds) > 1:
        raise BenchmarkError(
            f"Recipe {recipe.name}: weights of different networks have no mean; the pool "
            f"{recipe.pool} holds {len(kinds)} kinds (backbone, classes, size, channels)."
        )
    canvas = choose_canvas(teachers, image_size=None, channels=None)
    averaged = MetaLearner(
        backbone=teachers[0].backbone,
        n_way=teachers[0].n_classes,
        tensors=mean_tensors([teacher.module.state_dict() for teacher in teachers]),
        **asdict(canvas),
    )
    teacher = as_teacher(averaged)
    features = by_features(lambda split: unit_features(teacher, split.images))
    return Built(contestants={**by_protocol(averaged), **features})


# Meta-learning.


def built(stock: Stock, recipe: Recipe, options: Mapping[str, Any], seed: int) -> Built:
    """What an algorithm builds over the whole pool."""
    trained = run_build(
        stock.pool(recipe).teachers,
        options["config"],
        seed=seed,
        device=stock.device,
        with_waypoints=options["waypoints"],
        algorithm=recipe.subject["kind"],
    )
    return Built(
        contestants=by_protocol(trained.learner.to(stock.device)),
        waypoints=trained.waypoints,
        learner=trained.learner,
        facts={"trace": trained.trace},
    )


ALGORITHM = Kind(build=built, options={"config": {}, "waypoints": False}, resolve=build_settings)

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "pixels": Kind(build=pixels),
        "random": Kind(build=random, options={"backbone": "conv4"}),
        "single_teacher": Kind(build=single_teacher, options={"n_teachers": 0}),
        "best_teacher": Kind(build=best_teacher, options={"n_teachers": 0}),
        "ensemble": Kind(build=ensemble, options={"n_teachers": 0}),
        "answer_ensemble": Kind(
            build=answer_ensemble, options={"n_teachers": 0, "temperature": 2.0}
        ),
        "served_ensemble": Kind(build=served_ensemble, options=asdict(EnsembleConfig())),
        "weight_average": Kind(build=weight_average, options={"n_teachers": 0}),
        "free": ALGORITHM,
        "multi_teacher": ALGORITHM,
    }
)
