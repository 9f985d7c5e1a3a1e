"""What a support set lets expect, by independent reckoning."""

import math
from dataclasses import replace

import pytest
import torch
from toy_pool import seeded, stripes, toy_teachers

from ml.backbones import build, initialize
from ml.classifiers import PrototypeClassifier, places_in_class
from ml.ensemble import EnsembleLearner
from ml.fewshot import classifier_for, predict
from ml.learner import PUBLISHED, Adaptation, MetaLearner
from ml.outlook import (
    STRANGE_FROM,
    USUAL_PAIR,
    USUAL_WEIGHT,
    Outlook,
    outlook,
    pairs,
    strangeness_of,
    wilson,
)


def trained_like(adaptation: Adaptation | None = None) -> MetaLearner:
    """A network whose running statistics are those of stripes."""
    module = build("conv4", n_classes=5, channels=1, image_size=16)
    initialize(module, seeded(0))
    images, _ = stripes(range(8), 40, size=16, channels=1, rng=seeded(9))
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        module.train()((images - 0.5) / 0.5)
    return MetaLearner(
        backbone="conv4",
        n_way=5,
        image_size=16,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        tensors=module.state_dict(),
        adaptation=adaptation or Adaptation(batch_statistics="running"),
    )


def ensemble() -> EnsembleLearner:
    return EnsembleLearner(members=toy_teachers(), teachers_asked=0, answer_temperature=2.0)


def noisy(labels: torch.Tensor, seed: int) -> torch.Tensor:
    """Images of which nobody knows much: answers to them are unsure."""
    images = torch.rand(len(labels), 1, 16, 16, generator=seeded(seed))
    for label in labels.unique():
        images[labels == label, :, :, 3 * int(label) : 3 * int(label) + 2] += 0.4
    return images.clamp(0, 1)


@pytest.mark.parametrize("learner", [trained_like(), ensemble()], ids=["network", "ensemble"])
def test_an_image_left_out_is_answered_as_a_query_of_the_others(learner):
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 0])
    support = noisy(labels, 1)
    classifier = classifier_for(learner, support, labels, n_way=3)
    assert isinstance(classifier, PrototypeClassifier)
    found = classifier.probabilities(classifier.left_out())
    places = places_in_class(labels, 3)
    assert places.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3]
    for turn in range(4):
        out = places == turn
        expected = predict(learner, support[~out], labels[~out], support[out], n_way=3)
        torch.testing.assert_close(found[out], expected, atol=1e-4, rtol=1e-3)


def test_an_image_alone_in_its_class_is_never_left_out():
    labels = torch.tensor([0, 0, 1, 2, 2])
    support = noisy(labels, 1)
    learner = trained_like()
    expected = outlook(learner, classifier_for(learner, support, labels, n_way=3), support)
    assert expected.images == 4
    single = torch.arange(3)
    one_each = noisy(single, 2)
    nothing = outlook(learner, classifier_for(learner, one_each, single, n_way=3), one_each)
    assert (nothing.images, nothing.accuracy, nothing.interval) == (0, None, None)
    assert nothing.alike == ()
    with pytest.raises(ValueError, match="left out"):
        nothing.threshold(0.9)


def test_a_fine_tuned_network_promises_nothing():
    labels = torch.arange(3).repeat(2)
    support, learner = noisy(labels, 1), trained_like(PUBLISHED)
    expected = outlook(learner, classifier_for(learner, support, labels, n_way=3), support)
    assert expected.accuracy is None
    assert expected.strangeness is not None


def made(confidence: list[float], right: list[float]) -> Outlook:
    return Outlook(
        confidence=torch.tensor(confidence),
        right=torch.tensor(right),
        alike=(),
        strangeness=None,
    )


def test_the_threshold_of_a_coverage_leaves_that_share_of_left_out_images_answered():
    seen = made(
        [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99], [0.0, 0, 1, 0, 1, 1, 1, 1, 1, 1]
    )
    for coverage, answered in ((1.0, 10), (0.8, 8), (0.5, 5), (0.1, 1)):
        threshold = seen.threshold(coverage)
        assert int((seen.confidence >= threshold).sum()) == answered
    assert seen.accuracy == pytest.approx(0.7)
    assert seen.accuracy_above(seen.threshold(0.8)) == pytest.approx(7 / 8)
    assert seen.accuracy_above(1.5) is None


def test_two_classes_shown_by_the_same_kind_of_image_are_named_and_others_are_not():
    directions = (1, 1, 5)  # the first two are one class under two names
    parts = [
        stripes((d,), 20, size=16, channels=1, rng=seeded(n))[0] for n, d in enumerate(directions)
    ]
    support, labels = torch.cat(parts), torch.arange(3).repeat_interleave(20)
    learner = ensemble()
    expected = outlook(learner, classifier_for(learner, support, labels, n_way=3), support)
    assert [(pair.first, pair.second) for pair in expected.alike] == [(0, 1)]


def test_a_pair_is_judged_by_its_left_out_images_and_by_what_is_usual():
    logits = torch.tensor([[2.0, 1, 0], [0, 1, 2], [1, 2, 0], [3, 2, 0], [0, 0, 1], [0, 0, 1]])
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    found = {(p.first, p.second): (p.told_apart, p.images) for p in pairs(logits, labels)}
    usual = USUAL_PAIR * USUAL_WEIGHT
    told = {(0, 1): 2, (0, 2): 3, (1, 2): 4}
    assert found == {
        pair: (pytest.approx((n + usual) / (4 + USUAL_WEIGHT)), 4) for pair, n in told.items()
    }


@pytest.mark.parametrize("learner", [trained_like(), ensemble()], ids=["network", "ensemble"])
def test_what_the_networks_know_is_less_strange_than_noise_or_darkness(learner):
    known, _ = stripes(range(4), 5, size=16, channels=1, rng=seeded(1))
    noise = torch.rand(20, 1, 16, 16, generator=seeded(2))
    familiar = strangeness_of(learner, known)
    assert familiar is not None
    for strange in (noise, known * 0.1):
        found = strangeness_of(learner, strange)
        assert found is not None
        assert found > 1.5 * familiar


def test_strangeness_is_zero_on_the_very_images_of_the_statistics_and_grows_with_their_distance():
    learner = trained_like()
    images, _ = stripes(range(8), 25, size=16, channels=1, rng=seeded(9))
    module = learner.module()
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
            layer.reset_running_stats()
    with torch.no_grad():
        module.train()((images - 0.5) / 0.5)
    exact = replace(learner, tensors=module.state_dict())
    assert strangeness_of(exact, images) == pytest.approx(0, abs=1e-3)
    name = "encoder.3.bn.running_mean"  # the last layer's: no other layer sees the difference
    deviation = (exact.tensors["encoder.3.bn.running_var"] + 1e-5).sqrt()
    moved = replace(exact, tensors={**exact.tensors, name: exact.tensors[name] + deviation})
    assert strangeness_of(moved, images) == pytest.approx(1 / 4, abs=1e-2)


def test_networks_that_remember_no_statistics_find_nothing_strange():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    from ml.outlook import gap

    assert gap(module, torch.rand(2, 1, 2, 2)) is None


def test_wilsons_interval_is_that_of_the_score_test():
    low, high = wilson(8, 10)
    for bound in (low, high):
        assert abs(0.8 - bound) == pytest.approx(1.96 * math.sqrt(bound * (1 - bound) / 10))
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1


def test_where_all_classes_show_the_same_no_more_is_promised_than_by_guessing():
    learner = trained_like()
    labels = torch.arange(4).repeat(10)
    images = torch.rand(40, 1, 16, 16, generator=seeded(3))
    seen = outlook(learner, classifier_for(learner, images, labels, n_way=4), images)
    assert seen.images == 40
    assert seen.accuracy is not None
    assert seen.accuracy < 0.6


def test_a_support_set_is_called_strange_from_the_bound_on():
    at_bound = made([0.9], [1.0])
    assert replace(at_bound, strangeness=STRANGE_FROM).is_strange
    assert not replace(at_bound, strangeness=0.99 * STRANGE_FROM).is_strange
    assert not replace(at_bound, strangeness=None).is_strange
