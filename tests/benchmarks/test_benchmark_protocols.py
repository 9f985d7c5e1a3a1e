"""Episodes and heads, against the library's own sampler and hand-made references."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from benchmarks.protocols import (
    RIDGE,
    by_features,
    centroid_scores,
    draw_episodes,
    drawn_per_episode,
    episode_seed,
    measure,
    ridge_scores,
    seeing,
)
from benchmarks.stock import Split, Stock, unit_features
from ml.evaluation import evaluate, pixel_centroid, teacher_centroid
from tests.benchmarks.toy_bench import toy_recipe


@pytest.fixture
def split(stock: Stock) -> Split:
    return stock.split(toy_recipe(), "test")


def library_score(split: Split, predictor, n_shot: int):
    recipe = toy_recipe()
    return evaluate(
        predictor,
        split.images,
        split.labels,
        n_way=recipe.ways,
        n_shot=n_shot,
        n_query=recipe.queries,
        episodes=recipe.episodes,
        rng=torch.Generator().manual_seed(episode_seed(split.name, n_shot)),
    )


def test_features_computed_once_score_as_the_library_scores_images(
    stock: Stock, split: Split
) -> None:
    teacher = stock.pool(toy_recipe()).teachers[0]
    answer = by_features(lambda s: stock.features(teacher, s))["centroid"](split)
    ours = measure(answer, draw_episodes(toy_recipe(), split, 2), 2)
    theirs = library_score(split, teacher_centroid(teacher), 2)
    assert 1 / 3 < ours.mean < 1
    assert (ours.mean, ours.half_width_95, ours.n) == pytest.approx(
        (theirs.mean, theirs.half_width_95, theirs.n)
    )


def test_a_predictor_of_the_library_gets_the_librarys_episodes(split: Split) -> None:
    ours = measure(seeing(pixel_centroid())(split), draw_episodes(toy_recipe(), split, 1), 1)
    assert ours.mean == pytest.approx(library_score(split, pixel_centroid(), 1).mean)


def test_episodes_depend_on_split_and_shots_alone(stock: Stock, split: Split) -> None:
    rows = draw_episodes(toy_recipe("pixels"), split, 1)
    fewer = draw_episodes(toy_recipe("random", episodes=2, seeds=(9,)), split, 1)
    assert torch.equal(rows[:2], fewer)
    assert not torch.equal(rows, draw_episodes(toy_recipe(), split, 1, purpose="selection"))
    assert len({episode_seed(s, k) for s in ("validation", "test") for k in (1, 5)}) == 4
    other = stock.split(toy_recipe(), "validation")
    assert not torch.equal(rows, draw_episodes(toy_recipe(), other, 1))


def test_an_episode_holds_different_images_of_one_class_per_row(split: Split) -> None:
    for rows in draw_episodes(toy_recipe(), split, 2):
        labels = split.labels[rows]
        assert torch.equal(labels, labels[:, :1].expand_as(labels))
        assert len(labels[:, 0].unique()) == 3
        assert len(rows.unique()) == rows.numel()


def test_the_ridge_head_is_scikit_learns(split: Split) -> None:
    rng = torch.Generator().manual_seed(0)
    support, queries = (torch.randn(n, 7, generator=rng, dtype=torch.float64) for n in (6, 5))
    reference = Ridge(alpha=RIDGE, fit_intercept=False).fit(support, np.repeat(np.eye(3), 2, 0))
    np.testing.assert_allclose(ridge_scores(support, queries, 3), reference.predict(queries))


def test_the_centroid_head_answers_the_nearest_mean() -> None:
    support = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 9.0], [0.0, 11.0]])
    scores = centroid_scores(support, torch.tensor([[1.0, 0.0], [0.0, 8.0]]), 2)
    torch.testing.assert_close(scores, -torch.tensor([[0.0, 101.0], [65.0, 4.0]]))


def test_measure_counts_right_answers_and_their_spread_over_episodes() -> None:
    """Two ways, one query each: an answer of always 0 is half right; one of both right is 1."""
    rows = torch.zeros(4, 2, 2, dtype=torch.int64)
    replies = iter([torch.eye(2), torch.tensor([[1.0, 0.0]] * 2)] * 2)
    accuracy = measure(lambda _rows, _n_shot: next(replies), rows, 1)
    values = [1.0, 0.5, 1.0, 0.5]
    assert accuracy.mean == 0.75
    assert accuracy.std == pytest.approx(np.std(values, ddof=1))
    assert accuracy.half_width_95 == pytest.approx(1.96 * np.std(values, ddof=1) / 2)


def test_unit_features_see_the_trained_batch_statistics_and_not_the_batch(stock: Stock) -> None:
    recipe = toy_recipe()
    teacher, split = stock.pool(recipe).teachers[0], stock.split(recipe, "test")
    alone = unit_features(teacher, split.images[:1])
    together = unit_features(teacher, split.images[:9])
    torch.testing.assert_close(alone, together[:1])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(9))


def test_who_answers_is_drawn_anew_in_each_episode_and_the_same_on_every_call(
    split: Split,
) -> None:
    def only(number: int):
        return lambda _split: lambda _rows, _n_shot: torch.tensor([[float(number)]])

    contestant = drawn_per_episode([only(n) for n in range(5)], seed=3)

    def replies() -> list[float]:
        answer = contestant(split)
        return [float(answer(torch.zeros(1, 1), 1)) for _ in range(20)]

    assert len(set(replies())) > 2
    assert replies() == replies()
