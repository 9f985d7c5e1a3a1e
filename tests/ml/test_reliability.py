"""Whether a classifier behaves like one that was trained."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from toy_pool import seeded

from demo import client
from ml import reliability as module
from ml.backbones import BACKBONES, build, initialize
from ml.reliability import changed, reliability, shared_information, smoothness
from ml.types import Teacher

AS_EXPECTED = 0.5


def untrained(backbone: str = "conv4", *, seed: int = 0, size: int = 16) -> Teacher:
    module = build(backbone, n_classes=3, channels=1, image_size=size)
    initialize(module, seeded(seed))
    return Teacher(
        module=module.eval().requires_grad_(False),
        backbone=backbone,
        class_names=("a", "b", "c"),
        image_size=size,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
    )


@cache
def trained() -> Teacher:
    """As a client of the demo trains, in a second, on handwritten digits."""
    rng, classes = seeded(1), (0, 1, 4)
    network = client.Conv4(len(classes), rng)
    client.train(network, client.own_split(classes, rng), rng)
    teacher = untrained()
    teacher.module.load_state_dict(network.state_dict())
    return replace(teacher, mean=(client.MEAN,), std=(client.STD,))


def of(teacher: Teacher) -> float:
    found = reliability(teacher)
    assert found is not None
    return found


def test_a_trained_network_scores_as_expected_and_networks_of_chance_do_not() -> None:
    assert of(trained()) > AS_EXPECTED
    for seed in range(5):
        assert of(untrained(seed=seed)) < AS_EXPECTED


def test_a_score_is_the_same_every_time_and_touches_no_other_randomness() -> None:
    teacher = trained()  # which does touch it
    before = torch.get_rng_state()
    assert reliability(teacher) == reliability(teacher)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_score_does_not_depend_on_the_order_of_classes() -> None:
    module = build("conv4", n_classes=3, channels=1, image_size=16).eval().requires_grad_(False)
    module.load_state_dict(trained().module.state_dict())
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        module.classifier.weight.copy_(module.classifier.weight[order])
        module.classifier.bias.copy_(module.classifier.bias[order])
    turned = replace(trained(), module=module, class_names=("c", "a", "b"))
    assert of(turned) == pytest.approx(of(trained()), abs=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e10, 1e30])
def test_weights_of_any_size_have_a_score_from_0_to_1_or_none(scale: float) -> None:
    teacher = untrained()
    with torch.no_grad():
        for weight in teacher.module.parameters():
            weight.mul_(scale)
    found = reliability(teacher)
    assert found is None or 0 <= found <= 1
    if scale == 0:
        assert found == 0


def test_a_network_whose_answers_are_no_numbers_has_none() -> None:
    teacher = untrained()
    with torch.no_grad():
        teacher.module.classifier.bias.fill_(math.nan)
    assert reliability(teacher) is None


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_a_backbone_has_a_score_if_honest_models_of_it_were_measured(
    monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    monkeypatch.setattr(module, "PICTURES", 4)  # enough to pass through it
    found = reliability(untrained(backbone, size=32))
    assert (found is not None) == (backbone in module.MEASURED)
    assert 0 <= (found or 0) <= 1


def test_information_is_1_where_copies_repeat_sure_even_answers_and_0_where_they_tell_nothing() -> (
    None
):
    sure = torch.eye(4, dtype=torch.float64).repeat(8, 1)
    assert shared_information(sure, sure) == pytest.approx(1)
    flat = torch.full_like(sure, 0.25)
    assert shared_information(flat, flat) == pytest.approx(0, abs=1e-12)
    always = torch.zeros_like(sure)
    always[:, 2] = 1
    assert shared_information(always, always) == pytest.approx(0, abs=1e-12)
    assert shared_information(sure, sure[torch.randperm(32, generator=seeded(0))]) < 0.2


def test_a_copy_is_near_its_picture_and_not_the_picture() -> None:
    pictures = torch.rand(4, 3, 32, 32, generator=seeded(0))
    smooth = torch.nn.functional.avg_pool2d(pictures, 9, stride=1, padding=4)
    copies = changed(smooth)
    assert copies.shape == smooth.shape
    assert 0 < float((copies - smooth).abs().mean()) < 0.1


def test_smoothness_is_1_of_flat_filters_0_of_independent_ones_and_of_none() -> None:
    flat = torch.randn(32, 3, 1, 1, generator=seeded(0)).expand(-1, -1, 3, 3)
    assert smoothness(flat) == pytest.approx(1)
    assert smoothness(torch.randn(32, 3, 3, 3, generator=seeded(0))) < 0.1
    assert smoothness(torch.zeros(32, 3, 3, 3)) == 0
    signs = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])
    assert smoothness(signs.expand(32, 3, 3, 3)) == 0


@pytest.mark.parametrize(("information", "smooth"), [(0.2, 0.001), (0.001, 0.4), (0.0, 0.0)])
def test_the_weaker_of_the_two_decides(
    monkeypatch: pytest.MonkeyPatch, information: float, smooth: float
) -> None:
    monkeypatch.setattr(module, "smoothness_of", lambda _: 0.3)
    monkeypatch.setattr(module, "information_of", lambda _: 0.1)
    assert of(untrained()) > AS_EXPECTED
    monkeypatch.setattr(module, "smoothness_of", lambda _: smooth)
    monkeypatch.setattr(module, "information_of", lambda _: information)
    assert of(untrained()) < 0.1
