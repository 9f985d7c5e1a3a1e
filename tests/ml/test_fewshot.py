from dataclasses import replace

import pytest
import torch
from toy_pool import seeded, stripes

from ml import classifiers, fewshot
from ml.backbones import build, initialize
from ml.errors import UnusableSupport
from ml.fewshot import predict
from ml.learner import PUBLISHED, Adaptation, MetaLearner

KINDS = ("centroid", "prototype_fine_tune", "fine_tune")


def untrained(kind: str = "centroid", **changes) -> MetaLearner:
    module = build("conv4", n_classes=5, channels=1, image_size=16)
    initialize(module, seeded(0))
    adaptation = PUBLISHED if kind == "fine_tune" else Adaptation(kind=kind, **changes)
    return MetaLearner(
        backbone="conv4",
        n_way=5,
        image_size=16,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        tensors=module.state_dict(),
        adaptation=adaptation,
    )


def task(n_way: int, per_class: int, seed: int = 0):
    images, labels = stripes(range(n_way), per_class, size=16, channels=1, rng=seeded(seed))
    return images, labels


def shades(n_way: int, per_class: int, seed: int):
    """Classes that differ in the column of one bright bar: easy for any network."""
    labels = torch.arange(n_way).repeat_interleave(per_class)
    images = 0.05 * torch.rand(len(labels), 1, 16, 16, generator=seeded(seed))
    for label in range(n_way):
        images[labels == label, :, :, 3 * label : 3 * label + 3] += 0.9
    return images, labels


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_probabilities(kind):
    (support, labels), (queries, _) = task(3, 4), task(3, 5, seed=1)
    answer = predict(untrained(kind), support, labels, queries, n_way=3)
    assert answer.shape == (15, 3)
    assert answer.min() >= 0
    torch.testing.assert_close(answer.sum(dim=1), torch.ones(15))


@pytest.mark.parametrize("kind", KINDS)
def test_a_well_separated_task_is_solved(kind):
    (support, labels), (queries, query_labels) = shades(5, 5, 0), shades(5, 8, 1)
    answer = predict(untrained(kind), support, labels, queries, n_way=5)
    assert (answer.argmax(dim=1) == query_labels).float().mean() > 0.9


@pytest.mark.parametrize("kind", ["centroid", "prototype_fine_tune"])
def test_renaming_the_classes_renames_the_answers(kind):
    (support, labels), (queries, _) = task(4, 3), task(4, 3, seed=1)
    new_names = torch.tensor([2, 0, 3, 1])
    before = predict(untrained(kind), support, labels, queries, n_way=4)
    after = predict(untrained(kind), support, new_names[labels], queries, n_way=4)
    torch.testing.assert_close(after[:, new_names], before, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_question_gets_the_same_answer_and_changes_nothing(kind):
    meta_learner = untrained(kind)
    before = {name: tensor.clone() for name, tensor in meta_learner.tensors.items()}
    (support, labels), (queries, _) = task(3, 4), task(3, 5, seed=1)
    first = predict(meta_learner, support, labels, queries, n_way=3)
    second = predict(meta_learner, support, labels, queries, n_way=3)
    assert torch.equal(first, second)
    assert all(torch.equal(meta_learner.tensors[name], t) for name, t in before.items())


@pytest.mark.parametrize("statistics", ["blended", "support", "running"])
def test_an_answer_does_not_depend_on_the_other_queries(statistics):
    meta_learner = untrained(batch_statistics=statistics)
    (support, labels), (queries, _) = task(3, 4), task(3, 5, seed=1)
    together = predict(meta_learner, support, labels, queries, n_way=3)
    alone = predict(meta_learner, support, labels, queries[4:5], n_way=3)
    torch.testing.assert_close(alone, together[4:5])


def test_uneven_shots_and_many_ways_are_served():
    generator = seeded(0)
    labels = torch.cat([torch.full((1 + way % 7,), way) for way in range(50)])
    support = torch.rand(len(labels), 1, 16, 16, generator=generator)
    queries = torch.rand(3, 1, 16, 16, generator=generator)
    for kind in ("centroid", "prototype_fine_tune"):
        assert predict(untrained(kind, steps=1), support, labels, queries, n_way=50).shape == (
            3,
            50,
        )


def test_images_of_another_size_and_colour_are_fitted():
    (support, labels), (queries, query_labels) = shades(5, 5, 0), shades(5, 8, 1)
    larger = torch.nn.functional.interpolate(queries, scale_factor=3).expand(-1, 3, -1, -1)
    answer = predict(untrained(), support, labels, larger, n_way=5)
    assert (answer.argmax(dim=1) == query_labels).float().mean() > 0.9


def test_batches_change_the_answers_no_more_than_their_statistics_must(monkeypatch):
    (support, labels), (queries, _) = task(4, 16), task(4, 10, seed=1)
    whole = predict(untrained(), support, labels, queries, n_way=4)
    for module in (classifiers, fewshot):
        monkeypatch.setattr(module, "CHUNK", 16)
    in_parts = predict(untrained(), support, labels, queries, n_way=4)
    assert (whole - in_parts).abs().max() < 0.1
    running = untrained(batch_statistics="running")
    exact = predict(running, support, labels, queries, n_way=4)
    for module in (classifiers, fewshot):
        monkeypatch.setattr(module, "CHUNK", 256)
    torch.testing.assert_close(predict(running, support, labels, queries, n_way=4), exact)


def test_support_statistics_are_those_of_a_training_pass_over_the_support_set():
    meta_learner, (support, _) = untrained(batch_statistics="support"), task(3, 4)
    module = fewshot.serving_module(meta_learner, support)
    reference = meta_learner.module().train()
    features = reference.features(support)
    seen = {n: b for n, b in module.named_buffers() if n.endswith("running_mean")}
    for name, buffer in reference.named_buffers():
        if name.endswith("running_mean"):  # torch's default moves a tenth of the way from 0
            torch.testing.assert_close(seen[name], 10 * buffer)
    torch.testing.assert_close(module.features(support), features, atol=0.1, rtol=0.05)


def test_blended_statistics_count_the_trained_ones_as_thirty_two_images():
    (support, _), name = task(4, 2), "encoder.1.bn.running_var"
    learner = untrained(batch_statistics="support")
    trained = {**learner.tensors, name: torch.full((32,), 7.0)}
    parts = [
        replace(learner, tensors=trained, adaptation=Adaptation(batch_statistics=kind))
        for kind in ("support", "blended")
    ]
    measured, blended = (
        dict(fewshot.serving_module(part, support).named_buffers())[name] for part in parts
    )
    torch.testing.assert_close(blended, (8 * measured + 32 * 7.0) / 40)
    assert torch.equal(parts[1].tensors[name], torch.full((32,), 7.0))


def test_each_group_of_interleaved_rows_spans_all_of_them():
    order = fewshot.interleaved(10, 3)
    assert sorted(order.tolist()) == list(range(10))
    assert order.tolist()[:4] == [0, 3, 6, 9]


def test_the_published_fine_tuning_is_sgd_on_a_copy_of_the_network():
    meta_learner = untrained("fine_tune")
    (support, labels), (queries, _) = task(5, 3), task(5, 2, seed=1)
    reference = meta_learner.module().train().requires_grad_()
    sgd = torch.optim.SGD(reference.parameters(), lr=0.01)
    for _ in range(10):
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(reference((support - 0.5) / 0.5), labels).backward()
        sgd.step()
    expected = reference((queries - 0.5) / 0.5).softmax(dim=1).detach()
    answer = predict(meta_learner, support, labels, queries, n_way=5)
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-4)


def test_without_steps_a_head_of_prototypes_is_the_nearest_prototype():
    (support, labels), (queries, _) = task(3, 4), task(3, 5, seed=1)
    meta_learner = untrained("prototype_fine_tune", steps=0)
    encoder = fewshot.serving_module(meta_learner, (support - 0.5) / 0.5).encoder
    prototypes = torch.stack(
        [encoder((support[labels == c] - 0.5) / 0.5).mean(0) for c in range(3)]
    )
    distances = torch.cdist(encoder((queries - 0.5) / 0.5), prototypes)
    answer = predict(meta_learner, support, labels, queries, n_way=3)
    assert torch.equal(answer.argmax(dim=1), distances.argmin(dim=1))


@pytest.mark.parametrize(
    ("labels", "n_way", "said"),
    [
        ([0, 0, 0], 1, "at least 2"),
        ([0, 1], 2, "came with"),
        ([0, 1, 2], 2, "0 to 1"),
        ([-1, 1, 0], 2, "0 to 1"),
        ([0, 2, 2], 3, "each class"),
    ],
)
def test_labels_that_make_no_task_are_refused(labels, n_way, said):
    images, _ = task(3, 1)
    with pytest.raises(UnusableSupport, match=said):
        predict(untrained(), images, torch.tensor(labels), images, n_way=n_way)


def test_the_published_head_serves_no_more_ways_than_it_has():
    images, labels = task(6, 1)
    with pytest.raises(UnusableSupport, match="5 outputs"):
        predict(untrained("fine_tune"), images, labels, images, n_way=6)


def test_confidence_grows_as_the_temperature_falls():
    (support, labels), (queries, _) = task(3, 4), task(3, 5, seed=1)
    warm, cold = (
        predict(
            replace(untrained(), adaptation=Adaptation(temperature=t)),
            support,
            labels,
            queries,
            n_way=3,
        )
        for t in (1.0, 0.1)
    )
    assert torch.equal(warm.argmax(dim=1), cold.argmax(dim=1))
    assert (cold.max(dim=1).values > warm.max(dim=1).values).all()


@pytest.mark.parametrize("centre", ["support", "none"])
def test_the_centroid_answer_is_the_softmax_of_distances_over_the_spread_of_class_means(centre):
    (support, labels), (queries, _) = task(3, 4), task(3, 5, seed=1)
    meta_learner = untrained(batch_statistics="running", temperature=0.5, centre=centre)
    encoder = meta_learner.module().encoder
    support_SD, query_QD = (encoder((images - 0.5) / 0.5) for images in (support, queries))
    middle = torch.stack([support_SD[labels == c].mean(0) for c in range(3)]).mean(0)
    middle = middle if centre == "support" else torch.zeros_like(middle)
    support_SD, query_QD = (
        (rows - middle) / (rows - middle).norm(dim=1, keepdim=True)
        for rows in (support_SD, query_QD)
    )
    means = torch.stack([support_SD[labels == c].mean(0) for c in range(3)])
    spread = sum(float(mean @ mean) for mean in means) / 3
    expected = (-(torch.cdist(query_QD, means) ** 2) / 2 / spread / 0.5).softmax(dim=1)
    answer = predict(meta_learner, support, labels, queries, n_way=3)
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-4)


def test_a_class_shown_more_often_is_answered_as_surely_as_its_images_agree():
    """Copies of one image say no more than the image itself."""
    (support, labels), (queries, _) = task(3, 1), task(3, 5, seed=1)
    learner = untrained(batch_statistics="running")
    once = predict(learner, support, labels, queries, n_way=3)
    copies = predict(learner, support.repeat(4, 1, 1, 1), labels.repeat(4), queries, n_way=3)
    torch.testing.assert_close(copies, once, atol=1e-5, rtol=1e-4)
