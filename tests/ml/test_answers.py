from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from toy_pool import seeded, stripes, toy_teachers

from ml import answers
from ml.answers import (
    MOST_CLASSES,
    answer_width,
    answers_of,
    axes_seconds,
    hellinger,
    principal_axes,
    side_by_side,
)
from ml.backbones import build


def some_answers(rows=200, width=12):
    mixing = torch.randn(width, width, generator=seeded(1), dtype=torch.float64)
    return torch.randn(rows, width, generator=seeded(2), dtype=torch.float64) @ mixing + 3.0


def test_the_inner_product_of_two_vectors_is_the_bhattacharyya_coefficient():
    logits = 3 * torch.randn(2, 6, generator=seeded(0), dtype=torch.float64)
    one, other = hellinger(logits, 2.0)
    p, q = torch.softmax(logits / 2.0, dim=1)
    assert one @ other == pytest.approx(float((p * q).sqrt().sum()))
    assert one.norm() == pytest.approx(1.0)


def test_answers_are_the_teachers_own_whatever_the_number_of_images():
    teacher = toy_teachers()[0]
    images, _ = stripes((0, 3, 6), 100, size=16, channels=1, rng=seeded(5))
    answers = answers_of(teacher, images, temperature=2.0, precision="float32")
    expected = (teacher.logits(images) / 2.0).softmax(1).sqrt()
    assert torch.allclose(answers, expected, atol=1e-5)
    assert answers.shape == (300, answer_width(teacher))


@pytest.mark.parametrize("n_classes", [2, MOST_CLASSES, MOST_CLASSES + 1, 1000])
def test_of_many_classes_evenly_spaced_ones_are_taken(n_classes):
    module = build("conv4", n_classes=n_classes, channels=1, image_size=16).eval()
    names = tuple(map(str, range(n_classes)))
    teacher = replace(toy_teachers()[0], module=module, class_names=names)
    images, _ = stripes((0,), 4, size=16, channels=1, rng=seeded(5))
    answers = answers_of(teacher, images, temperature=1.0, precision="float32")
    assert answers.shape == (4, answer_width(teacher))
    assert answer_width(teacher) <= MOST_CLASSES
    assert torch.allclose(answers.norm(dim=1), torch.ones(4))


def test_parts_stand_side_by_side_as_long_as_there_is_room():
    parts = [torch.rand(7, width, generator=seeded(width)) for width in (3, 5, 2)]
    together = side_by_side(parts, images=7, width=10, most=10, rng=seeded(0))
    assert torch.equal(together, torch.cat(parts, dim=1))


def test_beyond_that_fewer_numbers_keep_the_inner_products():
    parts = [torch.randn(9, 400, generator=seeded(place)) for place in range(20)]
    exact = torch.nn.functional.normalize(torch.cat(parts, dim=1), dim=1)
    parts = list(exact.split(400, dim=1))
    together = side_by_side(parts, images=9, width=8000, most=4000, rng=seeded(0))
    assert together.shape == (9, 4000)
    assert torch.allclose(together @ together.T, exact @ exact.T, atol=5 / 4000**0.5)


def test_axes_are_the_principal_components():
    answers = some_answers()
    axes = principal_axes(answers, 12)
    _, values, directions = torch.linalg.svd(answers - answers.mean(0), full_matrices=False)
    assert torch.allclose(axes.variances, values.square() / len(answers), rtol=1e-3)
    assert torch.allclose(
        (axes.axes.T @ directions.T).abs(), torch.eye(12, dtype=torch.float64), atol=1e-2
    )
    assert axes.kept == pytest.approx(1.0)
    assert principal_axes(answers, 3).kept < 1.0


def test_axes_of_many_numbers_are_the_principal_components_too():
    mixing = torch.randn(40, 700, generator=seeded(1)) * torch.arange(1, 41)[:, None] ** -0.7
    answers = torch.randn(900, 40, generator=seeded(2)) @ mixing
    answers += 0.05 * torch.randn(900, 700, generator=seeded(3)) + 3.0
    before = torch.get_rng_state()
    axes = principal_axes(answers, 16)
    assert torch.equal(torch.get_rng_state(), before)
    _, values, directions = torch.linalg.svd(answers - answers.mean(0), full_matrices=False)
    assert torch.allclose(axes.variances, values[:16].square() / 900, rtol=1e-3)
    assert torch.linalg.svdvals(axes.axes.T @ directions[:16].T).min() > 0.999
    assert axes.kept == pytest.approx(float(values[:16].square().sum() / values.square().sum()))
    assert torch.equal(principal_axes(answers, 16).axes, axes.axes)


@pytest.mark.parametrize("images", [60, 9])
def test_axes_of_more_numbers_than_images_are_the_covariances_which_is_never_made(
    images: int,
) -> None:
    numbers, wanted = 500, 16
    answers = torch.randn(images, numbers, generator=seeded(4), dtype=torch.float64)
    with FlopCounterMode(display=False) as flops:
        axes = principal_axes(answers, wanted)
    assert flops.get_total_flops() < numbers**2  # the covariance alone takes 2 * images times that
    covariance = torch.cov(answers.T, correction=0)
    assert axes.axes.shape == (numbers, wanted)
    assert torch.allclose(axes.axes.T @ axes.axes, torch.eye(wanted, dtype=torch.float64))
    diagonal = torch.diag(axes.variances)
    assert torch.allclose(axes.axes.T @ covariance @ axes.axes, diagonal, atol=1e-9)
    true = torch.linalg.eigvalsh(covariance).flip(0)[:wanted].clamp_min(0.0)
    assert torch.allclose(axes.variances, true, atol=1e-9)


@pytest.mark.parametrize(
    ("images", "numbers"), [(1_600, 800), (1_600, 200)], ids=["subspace", "exact"]
)
def test_the_time_of_axes_is_tried_on_a_quarter_and_foretold_in_proportion(
    images: int, numbers: int, monkeypatch
) -> None:
    def operations(trial, _) -> float:
        with FlopCounterMode(display=False) as flops:
            trial()
        return float(flops.get_total_flops())

    monkeypatch.setattr(answers, "fastest", operations)
    noise = torch.randn(images, numbers, generator=seeded(5))
    whole = operations(lambda: principal_axes(noise, 64), None)
    assert axes_seconds(images, numbers, 64, torch.device("cpu")) == pytest.approx(whole, rel=0.05)


def test_all_axes_keep_every_distance_and_full_flattening_whitens():
    answers = some_answers()
    axes = principal_axes(answers, 12)
    kept = axes.project(answers, flattening=0.0)
    assert torch.allclose(torch.cdist(kept, kept), torch.cdist(answers, answers), atol=1e-2)
    white = axes.project(answers, flattening=0.5)
    assert torch.allclose(
        torch.cov(white.T, correction=0), torch.eye(12, dtype=torch.float64), atol=1e-2
    )


def test_more_axes_than_answers_are_not_asked_for():
    assert principal_axes(some_answers(), 50).axes.shape == (12, 12)
