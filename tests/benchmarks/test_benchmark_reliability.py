"""The measurement of reliability: its impostors, and the area it reports."""

import pytest
import torch

from benchmarks.impostors import SPOILT, spoilt
from benchmarks.reliability import area
from ml.backbones import build, initialize
from ml.types import Teacher


def teacher() -> Teacher:
    module = build("conv4", n_classes=5, channels=3, image_size=32)
    initialize(module, torch.Generator().manual_seed(0))
    return Teacher(
        module=module.eval().requires_grad_(False),
        backbone="conv4",
        class_names=tuple("abcde"),
        image_size=32,
        channels=3,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )


@pytest.mark.parametrize("how", sorted(SPOILT))
def test_a_spoilt_model_answers_differently_always_alike_and_leaves_the_original(how: str) -> None:
    honest, images = teacher(), torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = honest.logits(images)
    made = [spoilt(honest, how, 3).logits(images) for _ in range(2)]
    assert torch.equal(*made)
    assert made[0].isfinite().all()
    assert not torch.allclose(made[0], before, atol=1e-3)
    assert torch.equal(honest.logits(images), before)


def test_the_area_is_1_where_all_honest_ones_have_more_and_a_half_where_all_are_alike() -> None:
    high, low = torch.arange(10.0) + 20, torch.arange(6.0)
    assert area(high, low) == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert area(low, high)["value"] == 0
    assert area(low, low)["value"] == 0.5
    mixed = area(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([2.0, 4.0]))
    assert mixed["low"] <= mixed["value"] == 0.5 <= mixed["high"]
