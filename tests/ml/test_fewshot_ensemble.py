"""What an ensemble answers, and whom it asks, by independent reckoning."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.nn import functional as F
from toy_pool import seeded, stripes, toy_teacher, toy_teachers

from ml import fewshot_ensemble
from ml.backbones import Backbone, build, initialize
from ml.ensemble import EnsembleLearner
from ml.errors import UnusableSupport
from ml.fewshot import predict
from ml.fewshot_ensemble import best_members, best_places, leave_one_out, ranking_rows
from ml.types import Teacher


def ensemble(*members: Teacher, asked: int = 0, temperature: float = 2.0) -> EnsembleLearner:
    return EnsembleLearner(
        members=members or toy_teachers(), teachers_asked=asked, answer_temperature=temperature
    )


def blind(seed: int, *, boldness: float = 1.0) -> Teacher:
    """An untrained network that is as sure of itself as is wanted."""
    module = build("conv4", n_classes=3, channels=1, image_size=16)
    initialize(module, seeded(seed))
    module.classifier.weight.data *= boldness
    like = toy_teachers()[0]
    return replace(like, module=module.eval().requires_grad_(False))


@cache
def other_forms() -> tuple[Teacher, ...]:
    return (
        toy_teacher((1, 5, 8), seed=7, size=24, channels=3),
        toy_teacher((0, 2, 4, 6, 8), seed=8, size=16, channels=3),
    )


def task(directions, per_class, seed, *, size=16, channels=1):
    return stripes(directions, per_class, size=size, channels=channels, rng=seeded(seed))


def directly(teachers, support, labels, queries, n_way):
    """The same answer, image by image and class by class, in double precision."""

    def beside(image):
        said = [t.logits(image[None])[0].double() for t in teachers]
        return torch.cat([torch.softmax(logits / 2.0, 0) ** 0.5 for logits in said])

    support_rows, query_rows = (
        [beside(image) for image in images] for images in (support, queries)
    )
    by_class = [
        [row for row, label in zip(support_rows, labels.tolist(), strict=True) if label == n]
        for n in range(n_way)
    ]
    centre = sum(sum(rows) / len(rows) for rows in by_class) / n_way
    unit = [[(row - centre) / (row - centre).norm() for row in rows] for rows in by_class]
    means = [sum(rows) / len(rows) for rows in unit]
    spread = sum(float(mean @ mean) for mean in means) / n_way
    answers = []
    for row in query_rows:
        query = (row - centre) / (row - centre).norm()
        squares = torch.stack([((query - mean) ** 2).sum() for mean in means])
        answers.append(-squares / 2 / spread / 0.35)
    return torch.stack(answers).softmax(1).float()


def test_the_answer_is_the_nearest_centroid_of_all_answers_side_by_side():
    labels = torch.arange(3).repeat(3)  # of images that differ, so that class means are short
    support, queries = (torch.rand(n, 1, 16, 16, generator=seeded(n)) for n in (9, 6))
    expected = directly(toy_teachers(), support, labels, queries, 3)
    answer = predict(ensemble(), support, labels, queries, n_way=3)
    torch.testing.assert_close(answer, expected, atol=1e-4, rtol=1e-3)


def test_members_of_mixed_sizes_and_depths_each_see_the_images_their_own_way():
    teachers = (*other_forms(), toy_teachers()[0])
    (support, labels), (queries, _) = (
        task((1, 6), 2, seed, size=32, channels=3) for seed in (0, 1)
    )
    expected = directly(teachers, support, labels, queries, 2)
    answer = predict(ensemble(*teachers), support, labels, queries, n_way=2)
    torch.testing.assert_close(answer, expected, atol=1e-4, rtol=1e-3)


def test_the_chosen_members_alone_answer():
    (support, labels), (queries, _) = task((1, 3, 7), 4, 0), task((1, 3, 7), 2, 1)
    learner = ensemble(blind(0), *toy_teachers(), blind(1))
    chosen = best_members(learner, support, labels, 3, 2)
    assert len(chosen) == 2
    expected = directly(chosen, support, labels, queries, 3)
    answer = predict(learner, support, labels, queries, n_way=3, teachers_asked=2)
    torch.testing.assert_close(answer, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("shots", [2, 5])
def test_members_that_know_the_directions_are_chosen_before_bold_blind_ones(shots):
    blinds = [blind(seed, boldness=10.0**seed) for seed in range(4)]
    learner = ensemble(*blinds[:2], *toy_teachers(), *blinds[2:])
    support, labels = task((0, 3, 7), shots, 3)
    chosen = best_members(learner, support, labels, 3, 4)
    assert [member.module for member in chosen] == [t.module for t in toy_teachers()]


def weighing(weights: torch.Tensor) -> Teacher:
    """A network whose one logit in use is a weighted sum of the pixels; the other is zero."""
    module = Backbone(torch.nn.Flatten(), feature_dim=256, n_classes=2)
    module.classifier.weight.data = torch.stack([weights.flatten(), torch.zeros(256)])
    module.classifier.bias.data.zero_()
    like = toy_teachers()[0]
    return replace(like, module=module.eval().requires_grad_(False), class_names=("a", "b"))


def test_with_one_image_a_class_the_member_that_stays_with_its_answer_is_chosen():
    """One sees brightness; the other, far surer, which side is bright, which mirroring turns."""
    brightness = weighing(torch.full((16, 16), 0.02))
    sides = weighing(torch.cat([torch.full((16, 8), 0.2), torch.full((16, 8), -0.2)], dim=1))
    bright, dark = torch.ones(1, 16, 16), torch.zeros(1, 16, 16)
    bright[:, :, 8:], dark[:, :, 8:] = 0.2, 0.6
    support, labels = torch.stack([bright, dark]), torch.tensor([0, 1])
    (chosen,) = best_members(ensemble(sides, brightness), support, labels, 2, 1)
    assert chosen.module is brightness.module
    twice = torch.cat([support, support])
    (chosen,) = best_members(ensemble(sides, brightness), twice, labels.repeat(2), 2, 1)
    assert chosen.module is sides.module  # with two images of a class nobody is mirrored


def test_leave_one_out_is_the_likelihood_under_the_means_of_all_other_images():
    answers = F.normalize(torch.rand(9, 4, generator=seeded(0), dtype=torch.float64), dim=1)
    labels = torch.tensor([0, 1, 2, 0, 0, 1, 2, 2, 2])
    total = 0.0
    for left_out in range(9):
        others = [i for i in range(9) if i != left_out]
        means = [
            torch.stack([answers[i] for i in others if labels[i] == n]).mean(0) for n in range(3)
        ]
        weights = [
            math.exp(-float(((answers[left_out] - mean) ** 2).sum()) / 0.2) for mean in means
        ]
        total += math.log(weights[int(labels[left_out])] / sum(weights))
    assert float(leave_one_out(answers, labels, 3)) == pytest.approx(total / 9)


def test_ranking_looks_at_the_first_five_of_each_class_and_at_mirror_images_if_one_is_alone():
    labels = torch.tensor([1, 0, 1, 1, 0, 1, 1, 1, 1])
    rows, mirrored = ranking_rows(labels, 2)
    assert (rows.tolist(), mirrored) == ([0, 1, 2, 3, 4, 5, 6], False)
    assert ranking_rows(torch.tensor([0, 1, 1]), 2)[1]


def test_of_equally_good_members_the_first_are_taken():
    same = torch.rand(4, 3, generator=seeded(0))
    better = torch.eye(3)[[0, 0, 1, 1]]
    labels = torch.tensor([0, 0, 1, 1])
    assert best_places([same, same, better, same], labels, 2, 2) == [0, 2]


def test_more_members_than_there_are_means_all_of_them():
    (support, labels), (queries, _) = task((1, 3), 3, 0), task((1, 3), 4, 1)
    everyone = predict(ensemble(asked=0), support, labels, queries, n_way=2)
    assert torch.equal(
        predict(ensemble(asked=2), support, labels, queries, n_way=2, teachers_asked=1000), everyone
    )
    few = predict(ensemble(asked=2), support, labels, queries, n_way=2)
    assert not torch.allclose(few, everyone)
    asked = predict(ensemble(asked=0), support, labels, queries, n_way=2, teachers_asked=2)
    assert torch.equal(asked, few)


@pytest.mark.parametrize("shots", [1, 3])
def test_an_answer_depends_neither_on_the_other_queries_nor_on_their_order(shots):
    learner = ensemble(*toy_teachers(), *other_forms(), asked=3)
    (support, labels), (queries, _) = task((1, 3, 7), shots, 0), task((1, 3, 7), 4, 1)
    together = predict(learner, support, labels, queries, n_way=3)
    order = torch.randperm(12, generator=seeded(0))
    shuffled = predict(learner, support, labels, queries[order], n_way=3)
    torch.testing.assert_close(shuffled, together[order])
    alone = predict(learner, support, labels, queries[4:5], n_way=3)
    torch.testing.assert_close(alone, together[4:5])


def test_the_same_question_gets_the_same_answer_and_changes_no_member():
    learner = ensemble(asked=2)
    before = [
        {name: tensor.clone() for name, tensor in member.module.state_dict().items()}
        for member in learner.members
    ]
    (support, labels), (queries, _) = task((1, 3), 2, 0), task((1, 3), 2, 1)
    first, second = (predict(learner, support, labels, queries, n_way=2) for _ in range(2))
    assert torch.equal(first, second)
    for member, state in zip(learner.members, before, strict=True):
        after = member.module.state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in state.items())


def test_renaming_the_classes_renames_the_answers():
    (support, labels), (queries, _) = task((1, 3, 7), 3, 0), task((1, 3, 7), 2, 1)
    names = torch.tensor([2, 0, 1])
    before = predict(ensemble(asked=2), support, labels, queries, n_way=3)
    after = predict(ensemble(asked=2), support, names[labels], queries, n_way=3)
    torch.testing.assert_close(after[:, names], before, atol=1e-4, rtol=1e-3)


def test_uneven_shots_and_more_ways_than_any_member_has_are_served():
    labels = torch.cat([torch.full((1 + way % 7,), way) for way in range(50)])
    support = torch.rand(len(labels), 1, 16, 16, generator=seeded(0))
    queries = torch.rand(3, 1, 16, 16, generator=seeded(1))
    answer = predict(ensemble(asked=2), support, labels, queries, n_way=50)
    assert answer.shape == (3, 50)
    torch.testing.assert_close(answer.sum(dim=1), torch.ones(3))


def test_unseen_directions_are_told_apart():
    support, labels = task((1, 4, 9), 5, 0)
    queries, truth = task((1, 4, 9), 20, 1)
    right = predict(ensemble(), support, labels, queries, n_way=3).argmax(1) == truth
    assert float(right.float().mean()) > 0.8


def test_a_member_that_overflows_says_nothing_and_is_asked_last():
    broken = blind(0)
    broken.module.classifier.bias.data[0] = math.inf
    (support, labels), (queries, _) = task((1, 3, 7), 3, 0), task((1, 3, 7), 2, 1)
    with_it = predict(ensemble(*toy_teachers(), broken), support, labels, queries, n_way=3)
    without = predict(ensemble(), support, labels, queries, n_way=3)
    torch.testing.assert_close(with_it, without)
    chosen = best_members(ensemble(broken, *toy_teachers()), support, labels, 3, 4)
    assert broken.module not in [member.module for member in chosen]


@pytest.mark.parametrize(("labels", "n_way"), [([0, 0], 1), ([0, 1, 2], 2), ([0, 2, 2], 3)])
def test_labels_that_make_no_task_are_refused(labels, n_way):
    images, _ = task((1,), len(labels), 0)
    with pytest.raises(UnusableSupport):
        predict(ensemble(), images, torch.tensor(labels), images, n_way=n_way)


def test_no_member_sees_more_than_a_fair_share_of_a_large_support_set(monkeypatch):
    seen: list[int] = []
    original = fewshot_ensemble.answers_to

    def watched(learner, member, fitted):
        answers = original(learner, member, fitted)
        seen.append(len(answers))
        return answers

    monkeypatch.setattr(fewshot_ensemble, "answers_to", watched)
    support, labels = task((1, 3), 40, 0)
    predict(ensemble(), support, labels, support[:1], n_way=2, teachers_asked=1)
    assert seen == [10, 10, 10, 10, 80, 1]
