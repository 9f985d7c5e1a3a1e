"""Fingerprints of teachers, and the map made of them."""

from dataclasses import replace
from functools import cache

import torch
from toy_pool import seeded, toy_teacher

from ml.fingerprint import LENGTH, fingerprint, lay_out
from ml.types import Teacher


@cache
def teachers() -> tuple[Teacher, ...]:
    """Three of one task, three of another."""
    tasks = ((0, 2, 4), (0, 2, 4), (0, 2, 4), (1, 5, 8), (1, 5, 8), (1, 5, 8))
    return tuple(
        toy_teacher(task, seed=seed, size=16, channels=1) for seed, task in enumerate(tasks, 1)
    )


def test_teachers_of_one_task_are_more_alike_than_those_of_two() -> None:
    rows = torch.stack([fingerprint(teacher) for teacher in teachers()])
    unit = torch.nn.functional.normalize(rows - rows.mean(dim=0), dim=1)
    alike = unit @ unit.T
    group = torch.arange(6) // 3
    same, itself = group[:, None] == group[None], torch.eye(6, dtype=torch.bool)
    assert alike[same & ~itself].mean() > alike[~same].mean() + 0.1


def test_a_fingerprint_has_length_one_and_does_not_depend_on_the_order_of_classes() -> None:
    teacher = teachers()[0]
    plain = fingerprint(teacher)
    assert plain.shape == (LENGTH,)
    assert abs(float(plain.norm()) - 1) < 1e-5
    assert torch.equal(plain, fingerprint(teacher))
    order = torch.tensor([2, 0, 1])
    module = teacher.module
    weight, bias = module.classifier.weight.data, module.classifier.bias.data
    try:
        module.classifier.weight.data = weight[order]
        module.classifier.bias.data = bias[order]
        turned = fingerprint(replace(teacher, class_names=("c", "a", "b")))
    finally:
        module.classifier.weight.data, module.classifier.bias.data = weight, bias
    torch.testing.assert_close(turned, plain, atol=1e-4, rtol=1e-3)


def test_a_network_that_tells_nothing_apart_has_none() -> None:
    teacher = teachers()[0]
    dumb = torch.nn.Module()
    dumb.encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 4))
    dumb.classifier = torch.nn.Linear(4, 3)
    torch.nn.init.zeros_(dumb.classifier.weight)
    assert torch.equal(fingerprint(replace(teacher, module=dumb)), torch.zeros(LENGTH))


def test_the_map_puts_groups_apart_whatever_their_order() -> None:
    middles = torch.randn(3, LENGTH, generator=seeded(0))
    noise = 0.2 * torch.randn(30, LENGTH, generator=seeded(1))
    groups = torch.arange(30) % 3
    rows = torch.nn.functional.normalize(middles[groups] + noise, dim=1)
    places, kept = lay_out(rows)
    assert places.abs().max() == 1
    assert kept > 0.8
    distances = torch.cdist(places, places)
    same = groups[:, None] == groups[None]
    assert distances[same].max() < distances[~same].min()
    order = torch.randperm(30, generator=seeded(2))
    turned, _ = lay_out(rows[order])
    torch.testing.assert_close(turned, places[order], atol=1e-4, rtol=1e-3)


def test_few_teachers_have_places_too() -> None:
    for count in range(4):
        places, _ = lay_out(torch.randn(count, LENGTH, generator=seeded(0)))
        assert places.shape == (count, 2)
        assert places.isfinite().all()
    same, kept = lay_out(torch.ones(5, LENGTH))
    assert same.isfinite().all()
    assert 0 <= kept <= 1
