"""Each subject is what its name says, by an independent reckoning."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.data import BenchmarkError
from benchmarks.protocols import (
    RIDGE,
    Contestant,
    by_protocol,
    draw_episodes,
    measure,
    seeing,
)
from benchmarks.stock import Stock, unit_features
from benchmarks.subjects import Built, build_subject, resolve_options
from benchmarks.teachers import as_meta_learner, some_teachers
from benchmarks.training import SMOKE_CONFIGS, Waypoint, run_build, select
from ml.ensemble import EnsembleLearner
from ml.evaluation import pixel_centroid, serving
from ml.learner import MetaLearner
from ml.types import Progress
from tests.benchmarks.toy_bench import toy_recipe, write_pool


def built(stock: Stock, kind: str, seed: int = 0, **options: object) -> Built:
    recipe = toy_recipe(kind, subject={"kind": kind, **options})
    return build_subject(stock, recipe, resolve_options(recipe), seed)


def scores(stock: Stock, contestant: Contestant, *, n_shot: int = 2, episode: int = 0) -> Tensor:
    split = stock.split(toy_recipe(), "test")
    return contestant(split)(draw_episodes(toy_recipe(), split, n_shot)[episode], n_shot)


def accuracy(stock: Stock, contestant: Contestant) -> float:
    split = stock.split(toy_recipe(), "test")
    return measure(contestant(split), draw_episodes(toy_recipe(), split, 2), 2).mean


def test_the_weight_average_is_the_mean_of_every_tensor_and_statistic(stock: Stock) -> None:
    teachers = stock.pool(toy_recipe()).teachers
    states = [teacher.module.state_dict() for teacher in teachers]
    for number, state in enumerate(states):
        state["encoder.0.bn.running_mean"].fill_(float(number))
    mean = {
        name: (states[0][name] + states[1][name] + states[2][name]) / 3
        for name in states[0]
        if states[0][name].is_floating_point()
    }
    assert float(mean["encoder.0.bn.running_mean"][0]) == 1.0
    expected = as_meta_learner(teachers[0])
    expected = replace(expected, tensors={**expected.tensors, **mean})
    average = built(stock, "weight_average").contestants
    for protocol, reference in by_protocol(expected).items():
        torch.testing.assert_close(
            scores(stock, average[protocol]), scores(stock, reference), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(("n_shot", "asked"), [(1, 2), (2, 2), (2, 0), (2, 3)])
def test_the_served_ensemble_answers_as_the_server_does(
    stock: Stock, n_shot: int, asked: int
) -> None:
    recipe = toy_recipe(
        "served_ensemble",
        subject={"kind": "served_ensemble", "teachers_asked": asked},
        protocols=("serving",),
    )
    contestant = build_subject(stock, recipe, resolve_options(recipe), 0).contestants["serving"]
    learner = EnsembleLearner(
        members=stock.pool(toy_recipe()).teachers, teachers_asked=asked, answer_temperature=2.0
    )
    for episode in range(3):
        ours = scores(stock, contestant, n_shot=n_shot, episode=episode) / learner.temperature
        theirs = scores(stock, seeing(serving(learner)), n_shot=n_shot, episode=episode)
        torch.testing.assert_close(ours.softmax(dim=1), theirs, atol=1e-4, rtol=1e-3)


def test_networks_of_different_kinds_have_no_average(tmp_path: Path, stock: Stock) -> None:
    for path in write_pool(tmp_path / "four", 1, n_classes=4).iterdir():
        path.rename(tmp_path / "toy_pool" / f"four-{path.name}")
    with pytest.raises(BenchmarkError, match="holds 2 kinds"):
        built(stock, "weight_average")


def test_an_ensembles_inner_products_are_the_mean_of_its_teachers_cosines(stock: Stock) -> None:
    split = stock.split(toy_recipe(), "test")
    features = [
        unit_features(teacher, split.images) for teacher in stock.pool(toy_recipe()).teachers
    ]
    cosines = torch.stack([each @ each.T for each in features]).mean(dim=0)
    rows = draw_episodes(toy_recipe(), split, 2)[0]
    support, queries = rows[:, :2].flatten(), rows[:, 2:].flatten()
    inverse = torch.linalg.inv(cosines[support][:, support] + RIDGE * torch.eye(len(support)))
    expected = cosines[queries][:, support] @ inverse @ torch.eye(3).repeat_interleave(2, dim=0)
    ours = scores(stock, built(stock, "ensemble").contestants["ridge"])
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_teachers_are_drawn_by_seed_without_repetition_and_zero_takes_all(stock: Stock) -> None:
    pool = stock.pool(toy_recipe())
    drawn = {tuple(map(id, some_teachers(pool, 2, seed))) for seed in range(12)}
    assert len(drawn) > 3
    assert all(len(set(pair)) == 2 for pair in drawn)
    assert some_teachers(pool, 0, seed=5) == list(pool.teachers)
    with pytest.raises(BenchmarkError, match="has 3 teachers, n_teachers is 4"):
        some_teachers(pool, 4, seed=0)


def test_the_best_teacher_is_the_one_that_sees_and_no_test_image_is_needed(
    stock: Stock, tmp_path: Path
) -> None:
    (tmp_path / "data" / "toy_test.npz").unlink()
    pool = stock.pool(toy_recipe())
    for blind in (pool.teachers[0], pool.teachers[2]):
        for weight in blind.module.encoder.parameters():
            weight.data.zero_()
    assert built(stock, "best_teacher").facts["chosen"] == "model-1"


def test_the_single_teacher_lies_between_a_blind_and_a_seeing_one(stock: Stock) -> None:
    blind, sighted, _ = stock.pool(toy_recipe()).teachers
    for weight in blind.module.encoder.parameters():
        weight.data.zero_()
    contestants = built(stock, "single_teacher").contestants
    assert set(contestants) == {"serving", "paper", "centroid", "ridge"}
    worst, best = 1 / 3, accuracy(stock, built(stock, "best_teacher").contestants["centroid"])
    assert worst < accuracy(stock, contestants["centroid"]) < best
    assert sighted is not blind


def test_pixels_are_the_librarys_pixel_centroid(stock: Stock) -> None:
    ours = scores(stock, built(stock, "pixels").contestants["centroid"])
    torch.testing.assert_close(ours, scores(stock, seeing(pixel_centroid())))


def test_a_random_initialisation_is_new_in_each_episode_and_repeats_with_the_seed(
    stock: Stock,
) -> None:
    split = stock.split(toy_recipe(), "test")
    rows = draw_episodes(toy_recipe(), split, 1)[0]

    def replies(seed: int) -> list[Tensor]:
        answer = built(stock, "random", seed).contestants["serving"](split)
        return [answer(rows, 1), answer(rows, 1)]

    first, second = replies(seed=0)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(replies(seed=0), [first, second])
    assert not torch.allclose(replies(seed=1)[0], first)


def test_a_protocol_that_a_subject_does_not_know_is_refused(stock: Stock) -> None:
    recipe = toy_recipe("pixels", protocols=("paper",))
    with pytest.raises(BenchmarkError, match="pixels has no protocol 'paper'; it has centroid"):
        build_subject(stock, recipe, resolve_options(recipe), 0)


def blind_learner(stock: Stock) -> MetaLearner:
    learner = as_meta_learner(stock.pool(toy_recipe()).teachers[0])
    return replace(learner, tensors={n: torch.zeros_like(t) for n, t in learner.tensors.items()})


def test_selection_takes_the_best_waypoint_on_validation_and_names_its_value_the_peak(
    stock: Stock, tmp_path: Path
) -> None:
    (tmp_path / "data" / "toy_test.npz").unlink()
    seeing = as_meta_learner(stock.pool(toy_recipe()).teachers[1])
    learners = [blind_learner(stock), seeing, blind_learner(stock)]
    waypoints = [Waypoint(step=10 * n, learner=each) for n, each in enumerate(learners)]
    selection = select(stock, toy_recipe(), waypoints)
    curve = [point["accuracy"] for point in selection.facts["curve"]]
    assert selection.chosen.learner is seeing
    assert selection.facts["step"] == 10
    assert selection.facts["peak"]["mean"] == max(curve) == curve[1] > curve[0]


def test_offered_learners_and_the_last_one_become_waypoints_only_if_wanted(stock: Stock) -> None:
    """A stand-in for FREE that reports, offers at steps 2 and 4, and ends at step 5."""
    seeing = as_meta_learner(stock.pool(toy_recipe()).teachers[1])
    asked: list[set[str]] = []

    def train(_teachers, config, *, rng, device, report, **more):
        asked.append(set(more))
        report(Progress(stage="s", step=1, total_steps=5, fraction=1.0, metrics={"loss": 2.0}))
        for step in (2, 4) if more else ():
            more["offer"](step, blind_learner(stock))
        return seeing

    settings = {**SMOKE_CONFIGS["free"], "outer_steps": 5}
    trained = [
        run_build((), settings, seed=0, device=stock.device, with_waypoints=each, train=train)
        for each in (True, False)
    ]
    assert asked == [{"offer"}, set()]
    assert [waypoint.step for waypoint in trained[0].waypoints] == [2, 4, 5]
    assert trained[0].waypoints[-1].learner is seeing
    assert trained[1].waypoints == ()
    assert trained[0].trace["stages"]["s"]["reports"] == 1
    assert trained[0].trace["last_metrics"] == {"loss": 2.0}
