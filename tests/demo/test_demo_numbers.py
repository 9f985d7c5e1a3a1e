"""Intervals, baselines and the sentences that are made of them."""

import pytest
import torch

from demo import baselines, report
from demo.episodes import Draw, draw_episodes
from demo.images import LabelledImages
from ml.backbones import build, initialize
from ml.episodes import episode_of
from ml.evaluation import (
    Score,
    pixel_centroid,
    random_initialisation,
    serving,
    teacher_centroid,
)
from ml.learner import MetaLearner
from ml.types import Teacher


def test_an_interval_is_1_96_standard_errors():
    """Values 0.2, 0.4, 0.9: mean 0.5, squared deviations 0.09 + 0.01 + 0.16 = 0.26."""
    score = report.mean_and_interval([0.2, 0.4, 0.9])
    assert score.mean == pytest.approx(0.5)
    assert score.half_width_95 == pytest.approx(1.96 * (0.26 / 2) ** 0.5 / 3**0.5)
    assert score.n == 3


def test_a_paired_difference_has_no_width_when_every_episode_differs_alike():
    difference = report.paired_difference([0.9, 0.5, 0.7], [0.8, 0.4, 0.6])
    assert difference.mean == pytest.approx(0.1)
    assert difference.half_width_95 == pytest.approx(0.0, abs=1e-12)


def test_the_best_baseline_is_chosen_for_each_number_of_shots():
    results = {"pixels": {1: [0.5, 0.6], 5: [0.6, 0.7]}, "teacher": {1: [0.4, 0.5], 5: [0.9, 0.8]}}
    assert report.best_baseline(results, 1) == "pixels"
    assert report.best_baseline(results, 5) == "teacher"


def test_a_table_is_in_percent():
    rows = report.table_rows({"pixels": {1: [0.5, 0.5], 5: [0.25, 0.75]}}, [1, 5])
    assert rows == {"pixels": ["50.0 ± 0.0", "50.0 ± 49.0"]}


@pytest.mark.parametrize(
    ("mean", "width", "expected"),
    [
        (-0.031, 0.012, "3.1 ± 1.2 points below P: this short build is not yet worth using for X"),
        (0.031, 0.012, "3.1 ± 1.2 points above P: this short build is worth using for X"),
        (0.011, 0.012, "not shown to be worth using for X"),
        (-0.011, 0.012, "1.1 ± 1.2 points below P, which 60 episodes cannot tell"),
        (0.0, 0.0, "not shown to be worth using for X"),
    ],
)
def test_a_verdict_hides_neither_a_loss_nor_a_tie(mean: float, width: float, expected: str):
    difference = Score(mean=mean, half_width_95=width, n=60)
    sentence = report.verdict(difference, baseline="P", build="short build", subject="X")
    assert expected in sentence


def images_and_draws(
    n_shot: int, noise: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, list[Draw]]:
    """Three classes whose images are noise around a picture of their own."""
    rng = torch.Generator().manual_seed(3)
    labels = torch.arange(3).repeat_interleave(12)
    pictures = torch.rand(3, 1, 16, 16, generator=rng)
    images = (pictures[labels] + noise * torch.randn(36, 1, 16, 16, generator=rng)).clamp(0, 1)
    data = LabelledImages(
        images=(images * 255).byte().permute(0, 2, 3, 1).numpy(),
        labels=labels.numpy(),
        class_names=("a", "b", "c"),
    )
    draws = draw_episodes(data, n_way=3, n_shot=n_shot, n_query=5, episodes=6, rng=rng)
    return images, labels, draws


def by_library(predictor, images: torch.Tensor, draws: list[Draw]) -> list[float]:
    episodes = [episode_of(images, draw.rows, n_shot=draw.n_shot) for draw in draws]
    return [(predictor(e).argmax(dim=1) == e.query_labels).double().mean().item() for e in episodes]


@pytest.mark.parametrize("n_shot", [1, 5])
def test_pixel_accuracies_are_those_of_the_librarys_predictor(n_shot: int):
    images, _, draws = images_and_draws(n_shot)
    ours = baselines.pixel_accuracies(images, draws)
    assert ours == pytest.approx(by_library(pixel_centroid(), images, draws))
    assert 0.4 < sum(ours) / len(ours) < 1.0


def test_teacher_accuracies_from_kept_features_are_those_of_the_librarys_predictor():
    images, _, draws = images_and_draws(5)
    module = build("conv4", n_classes=4, channels=3, image_size=32)
    initialize(module, torch.Generator().manual_seed(0))
    teacher = Teacher(
        module=module.eval().requires_grad_(requires_grad=False),
        backbone="conv4",
        class_names=("p", "q", "r", "s"),
        image_size=32,
        channels=3,
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
    )
    ours = baselines.centroid_accuracies(baselines.unit_features(teacher, images), draws)
    assert ours == pytest.approx(by_library(teacher_centroid(teacher), images, draws))


def test_the_best_teacher_is_the_best_on_these_very_episodes():
    _, labels, draws = images_and_draws(1)
    telling = torch.nn.functional.one_hot(labels, 3).float()
    mute = torch.zeros(36, 3)
    best = baselines.best_teacher({"mute": mute, "telling": telling}, draws)
    assert best is not None
    assert (best.name, best.tried) == ("telling", 2)
    assert best.accuracies == [1.0] * len(draws)
    assert baselines.best_teacher({}, draws) is None


def test_an_untrained_network_does_better_than_chance_on_easy_images_and_repeats_itself():
    images, _, draws = images_and_draws(5, noise=0.2)
    learner = {"backbone": "conv4", "channels": 1, "image_size": 16}
    manifests = [{"normalization": {"mean": [0.5], "std": [0.5]}}]
    first = baselines.random_accuracies(learner, manifests, images, draws)
    assert first == baselines.random_accuracies(learner, manifests, images, draws)
    assert 0.6 < sum(first) / len(first) <= 1.0


def test_normalisation_is_the_pools_own_only_where_all_agree():
    grey, other = ({"normalization": {"mean": [m], "std": [0.2]}} for m in (0.3, 0.4))
    assert baselines.canvas_normalization([grey, grey], 1) == ((0.3,), (0.2,))
    assert baselines.canvas_normalization([grey, other], 1) == ((0.5,), (0.5,))
    assert baselines.canvas_normalization([grey], 3) == ((0.5,) * 3, (0.5,) * 3)


def test_the_random_baseline_is_served_by_the_meta_learners_rule():
    images, _, draws = images_and_draws(5)
    learner = {"backbone": "conv4", "channels": 1, "image_size": 16}
    manifests = [{"normalization": {"mean": [0.5], "std": [0.5]}}]
    ours = baselines.random_accuracies(learner, manifests, images, draws[:1])
    like = MetaLearner(
        backbone="conv4",
        n_way=3,
        image_size=16,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        tensors={"any": torch.zeros(1)},
    )
    untrained = random_initialisation(like, torch.Generator().manual_seed(baselines.SEED))
    assert ours == by_library(serving(untrained), images, draws[:1])


def test_a_builds_own_report_is_told_with_its_baselines_and_warnings():
    def at(one, five):
        return {
            "1": {"accuracy": one, "interval": [one - 0.02, one + 0.02]},
            "5": {"accuracy": five, "interval": [five - 0.01, five + 0.01]},
        }

    told = report.report_lines(
        {
            "estimate": {"kind": "recovered", "way": 3, "shots": at(0.5, 0.7)},
            "baselines": [{"name": "pixels", "what": "", "shots": at(0.4, 0.6)}],
            "warnings": [{"code": "level-not-trustworthy", "message": "Its level says little."}],
        }
    )
    assert told == [
        "The build's own estimate (drawn pictures, without data; 3-way, 1 / 5 shots):",
        "  meta-learner  50.0 ± 2.0 / 70.0 ± 1.0 %",
        "  pixels        40.0 ± 2.0 / 60.0 ± 1.0 %",
        "  Note: Its level says little.",
    ]
    nothing = {"estimate": None, "baselines": [], "warnings": [{"code": "x", "message": "Why."}]}
    assert report.report_lines(nothing) == ["Why."]
