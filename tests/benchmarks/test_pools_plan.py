"""A pool's plan follows from its seed, and says of each model what it learns and what it claims."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from benchmarks.data import BenchmarkError, LabelledImages
from benchmarks.pools.config import NORMALIZATIONS, PoolConfig, TrainingConfig
from benchmarks.pools.plan import ModelPlan, draw_plan
from benchmarks.pools.sources import Source, split_task

PER_CLASS = 5


def source(name: str, n_classes: int, *, foreign: bool = False, channels: int = 3) -> Source:
    """Images whose every pixel is their own row number; the classes take turns."""
    n_images = n_classes * PER_CLASS
    rows = torch.arange(n_images, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Source(
        name=name,
        foreign=foreign,
        data=LabelledImages(
            images=rows.expand(n_images, channels, 2, 2),
            labels=torch.arange(n_images) % n_classes,
            class_names=tuple(f"{name} {i}" for i in range(n_classes)),
        ),
    )


def plan(*sources: Source, **settings: object) -> tuple[ModelPlan, ...]:
    return draw_plan(PoolConfig(**settings), sources)  # type: ignore[arg-type]


def test_the_defaults_are_the_published_protocol() -> None:
    drawn = plan(source("a", 64))
    assert len(drawn) == 100
    assert all(len(set(model.advertised.classes)) == 5 for model in drawn)
    assert {model.corruption for model in drawn} == {None}
    training = TrainingConfig()
    assert (training.epochs, training.batch_size, training.max_grad_norm) == (60, 128, 50)
    conv, resnet = training.optimizer_of("conv4"), training.optimizer_of("resnet18")
    assert (conv.kind, conv.lr, conv.milestones) == ("adam", 0.01, ())
    assert (resnet.kind, resnet.lr, resnet.momentum) == ("sgd", 0.01, 0.9)
    assert (resnet.weight_decay, resnet.milestones, resnet.gamma) == (5e-4, (30, 50, 80), 0.2)


def test_one_seed_gives_one_plan_and_another_another() -> None:
    assert plan(source("a", 20), seed=3) == plan(source("a", 20), seed=3)
    assert plan(source("a", 20), seed=3) != plan(source("a", 20), seed=4)
    seeds = [model.seed for model in plan(source("a", 20))]
    assert len(set(seeds)) == len(seeds)


def test_more_models_leave_the_first_ones_as_they_were() -> None:
    assert plan(source("a", 20), models=30)[:10] == plan(source("a", 20), models=10)


def test_liars_leave_the_honest_models_as_they_were() -> None:
    a, b = source("a", 20), source("b", 9, foreign=True)
    honest = plan(a, models=40)
    mixed = plan(a, b, models=40, fake=0.1, mislabelled=0.2)
    kinds = Counter(model.corruption for model in mixed)
    assert kinds == {None: 28, "fake": 4, "mislabelled": 8}
    for before, after in zip(honest, mixed, strict=True):
        assert (before.name, before.advertised, before.seed) == (
            after.name,
            after.advertised,
            after.seed,
        )
        if after.corruption is None:
            assert after == before


def test_a_fake_learns_nothing_and_a_mislabelled_model_another_source() -> None:
    a, b = source("a", 20), source("b", 9, foreign=True)
    for model in plan(a, b, models=40, fake=0.5, mislabelled=0.5):
        assert model.advertised.source == "a"
        if model.corruption == "fake":
            assert model.learnt is None
            assert model.claimed_accuracy is not None
            assert 0.75 <= model.claimed_accuracy <= 0.95
        else:
            assert model.learnt is not None
            assert model.learnt.source == "b"
            assert len(set(model.learnt.classes)) == 5
            assert model.claimed_accuracy is None


def test_without_a_foreign_source_mislabelled_models_learn_the_pools_others() -> None:
    drawn = plan(source("a", 20), source("b", 20), models=20, mislabelled=1.0)
    pairs = {(model.advertised.source, model.learnt and model.learnt.source) for model in drawn}
    assert pairs == {("a", "b"), ("b", "a")}
    with pytest.raises(BenchmarkError, match="add --foreign"):
        plan(source("a", 20), mislabelled=0.5)


def test_domains_and_backbones_are_drawn_about_evenly() -> None:
    drawn = plan(
        source("a", 20), source("b", 20), models=300, backbones=("conv4", "resnet10", "resnet18")
    )
    domains = Counter(model.advertised.source for model in drawn)
    backbones = Counter(model.backbone for model in drawn)
    classes = Counter(i for model in drawn for i in model.advertised.classes)
    assert all(120 < domains[name] < 180 for name in "ab")
    assert all(70 < count < 130 for count in backbones.values())
    assert len(backbones) == 3
    assert all(45 < classes[i] < 105 for i in range(20))


def test_disjoint_groups_are_consecutive_and_use_every_class_once() -> None:
    drawn = plan(source("a", 64), classes="disjoint")
    assert len(drawn) == 13
    assert [len(model.advertised.classes) for model in drawn] == [5] * 12 + [4]
    assert [i for model in drawn for i in model.advertised.classes] == list(range(64))
    few = plan(source("a", 64), classes="disjoint", models=4)
    tasks = [model.advertised for model in drawn]
    assert len({model.advertised for model in few}) == 4
    assert all(model.advertised in tasks for model in few)
    with pytest.raises(BenchmarkError, match="13 disjoint groups"):
        plan(source("a", 64), classes="disjoint", models=14)


def test_a_single_class_left_over_makes_no_group() -> None:
    drawn = plan(source("a", 11), source("b", 5), classes="disjoint")
    assert [(model.advertised.source, len(model.advertised.classes)) for model in drawn] == [
        ("a", 5),
        ("a", 5),
        ("b", 5),
    ]


def test_a_source_with_too_few_classes_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="choose --ways 4"):
        plan(source("a", 4))
    with pytest.raises(BenchmarkError, match="b has 3 classes"):
        plan(source("a", 5), source("b", 3, foreign=True), mislabelled=1.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"models": 0},
        {"ways": 1},
        {"backbones": ()},
        {"backbones": ("conv5",)},
        {"backbones": ("conv4", "conv4")},
        {"image_size": 8},
        {"channels": 2},
        {"images_per_class": 1},
        {"fake": 0.6, "mislabelled": 0.6},
        {"fake": -0.1},
        {"seed": -1},
        {"training": TrainingConfig(epochs=0)},
        {"training": TrainingConfig(label_noise=1.0)},
        {"training": TrainingConfig(batch_size=1)},
    ],
)
def test_settings_that_make_no_pool_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BenchmarkError):
        PoolConfig(**settings)  # type: ignore[arg-type]


def test_the_first_four_fifths_of_each_class_are_for_training() -> None:
    split = split_task(source("a", 4), (2, 0), train_share=0.8)
    assert split.train_images[:, 0, 0, 0].tolist() == [2, 6, 10, 14, 0, 4, 8, 12]
    assert split.train_labels.tolist() == [0] * 4 + [1] * 4
    assert split.test_images[:, 0, 0, 0].tolist() == [18, 16]
    assert split.test_labels.tolist() == [0, 1]


def test_both_sides_of_a_split_have_an_image_of_each_class() -> None:
    for share in (0.01, 0.99):
        split = split_task(source("a", 4), (1, 3), train_share=share)
        assert set(split.train_labels.tolist()) == set(split.test_labels.tolist()) == {0, 1}


def test_normalisation_follows_the_source_unless_told() -> None:
    config = PoolConfig()
    assert config.normalization_of("cifar-fs", 3) == NORMALIZATIONS["cifar"]
    assert config.normalization_of("miniimagenet_train", 3) == NORMALIZATIONS["imagenet"]
    assert config.normalization_of("cifar-fs", 1) == ((0.5,), (0.5,))
    at_84 = replace(config, image_size=84)
    assert at_84.normalization_of("cifar-fs", 3) == NORMALIZATIONS["imagenet"]
    told = replace(config, normalization=((0.1,), (0.2,)))
    assert told.normalization_of("cifar-fs", 3) == ((0.1,) * 3, (0.2,) * 3)
    with pytest.raises(BenchmarkError, match="choose --channels"):
        replace(config, normalization=NORMALIZATIONS["cifar"]).normalization_of("omniglot", 1)
