import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_pool import seeded, stripes, toy_teachers

from ml import evaluation
from ml.backbones import build, initialize
from ml.canvas import choose_canvas
from ml.learner import MetaLearner
from ml.types import Teacher


def cifarfs(shared_directory, split: str):
    with np.load(shared_directory / "data" / f"cifarfs_{split}.npz") as data:
        images = torch.from_numpy(data["images"]).permute(0, 3, 1, 2).float() / 255
        return images, torch.from_numpy(data["labels"])


def cifarfs_teacher(shared_directory, number: int) -> Teacher:
    path = shared_directory / "pools" / "cifarfs_conv4" / f"cifarfs-conv4-{number:03d}.json"
    manifest = json.loads(path.read_text())
    module = build("conv4", n_classes=5, channels=3, image_size=32)
    module.load_state_dict(load_file(path.with_suffix(".safetensors")))
    return Teacher(
        module=module.eval().requires_grad_(False),
        backbone="conv4",
        class_names=tuple(manifest["class_names"]),
        image_size=32,
        channels=3,
        mean=tuple(manifest["normalization"]["mean"]),
        std=tuple(manifest["normalization"]["std"]),
    )


def meta_test(subject, images, labels, *, n_shot=5, episodes=20, seed=0):
    return evaluation.evaluate(
        subject,
        images,
        labels,
        n_way=5,
        n_shot=n_shot,
        n_query=15,
        episodes=episodes,
        rng=seeded(seed),
    )


def test_the_interval_is_1_96_standard_errors():
    score = evaluation.score_of(torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64))
    assert score.mean == pytest.approx(0.4)
    assert score.half_width_95 == pytest.approx(1.96 * 0.2 / math.sqrt(3))
    assert str(score) == "40.00 ± 22.63 % (n = 3)"


def test_guessing_scores_one_in_n_and_knowing_scores_one():
    images, labels = stripes(range(6), 20, size=16, channels=1, rng=seeded(0))

    def guess(episode):
        return torch.rand(len(episode.query_images), 5, generator=seeded(1))

    def know(episode):
        return torch.nn.functional.one_hot(episode.query_labels, 5)

    assert meta_test(guess, images, labels).mean == pytest.approx(0.2, abs=0.05)
    assert meta_test(know, images, labels).mean == 1.0


def test_the_same_seed_asks_the_same_episodes():
    images, labels = stripes(range(6), 20, size=16, channels=1, rng=seeded(0))
    pixels = evaluation.pixel_centroid()
    assert meta_test(pixels, images, labels) == meta_test(pixels, images, labels)
    assert meta_test(pixels, images, labels) != meta_test(pixels, images, labels, seed=1)


def test_an_interval_needs_two_episodes():
    images, labels = stripes(range(6), 20, size=16, channels=1, rng=seeded(0))
    with pytest.raises(ValueError, match="at least 2"):
        meta_test(evaluation.pixel_centroid(), images, labels, episodes=1)


def test_a_trained_teacher_beats_pixels_on_directions_it_never_saw():
    images, labels = stripes((1, 2, 5, 7, 9), 20, size=16, channels=1, rng=seeded(0))
    teacher = meta_test(evaluation.teacher_centroid(toy_teachers()[0]), images, labels)
    pixels = meta_test(evaluation.pixel_centroid(), images, labels)
    assert teacher.mean > pixels.mean + 0.1


def test_a_teachers_features_are_read_without_leaving_a_hook():
    images, labels = stripes(range(6), 20, size=16, channels=1, rng=seeded(0))
    teacher = toy_teachers()[0]
    meta_test(evaluation.teacher_centroid(teacher), images, labels, episodes=2)
    assert not any(layer._forward_hooks for layer in teacher.module.modules())


def test_the_random_baseline_is_untrained_and_adapts_like_its_model():
    module = build("conv4", n_classes=5, channels=1, image_size=16)
    initialize(module, seeded(0))
    like = MetaLearner(
        backbone="conv4",
        n_way=5,
        image_size=16,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        tensors={n: t + 1 for n, t in module.state_dict().items()},
    )
    baseline = evaluation.random_initialisation(like, seeded(0))
    assert baseline.adaptation == like.adaptation
    assert all(torch.equal(baseline.tensors[n], t) for n, t in module.state_dict().items())


def test_the_canvas_is_the_most_common_size_with_the_most_channels():
    teachers = list(toy_teachers()[:2])
    assert choose_canvas(teachers, image_size=None, channels=None).image_size == 16
    canvas = choose_canvas(teachers, image_size=None, channels=None)
    assert (canvas.mean, canvas.std) == ((0.5,), (0.5,))
    larger = Teacher(
        module=teachers[0].module,
        backbone="conv4",
        class_names=("a", "b"),
        image_size=32,
        channels=3,
        mean=(0.1, 0.2, 0.3),
        std=(0.5, 0.5, 0.5),
    )
    mixed = choose_canvas([*teachers, larger], image_size=None, channels=None)
    assert (mixed.image_size, mixed.channels, mixed.mean) == (16, 3, (0.5, 0.5, 0.5))
    assert choose_canvas([teachers[0], larger], image_size=None, channels=None).image_size == 32
    assert choose_canvas([larger], image_size=None, channels=None).mean == (0.1, 0.2, 0.3)


def test_one_teacher_of_the_real_pool_reaches_what_teachers_reach_on_validation_classes(
    shared_directory,
):
    """Nearest centroid on features; on the test classes the pool's README has 53.3 and 40.7 %."""
    images, labels = cifarfs(shared_directory, "val")
    teacher = evaluation.teacher_centroid(cifarfs_teacher(shared_directory, 0))
    five = meta_test(teacher, images, labels, episodes=100)
    one = meta_test(teacher, images, labels, n_shot=1, episodes=100)
    assert 0.38 < five.mean < 0.47
    assert 0.28 < one.mean < 0.38
    assert five.mean > meta_test(evaluation.pixel_centroid(), images, labels).mean
