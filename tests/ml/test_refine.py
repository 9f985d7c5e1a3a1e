from dataclasses import replace

import pytest
import torch
from torch import nn
from toy_pool import seeded, stripes, toy_teachers

from ml.drawing import draw_images
from ml.inversion.refine import RefineConfig, refine
from ml.inversion.statistics import batch_norm_gaps

CONFIG = RefineConfig(
    steps=40, lr=0.03, class_weight=1.0, bn_weight=1.0, flip=False, precision="float32"
)
FEW = replace(CONFIG, steps=3)


def drawn(count=60):
    return draw_images(count, image_size=16, channels=1, rng=seeded(3))


def gap(teacher, images) -> float:
    with torch.no_grad(), batch_norm_gaps(teacher.module) as gaps:
        teacher.logits(images)
        return float(torch.stack(gaps).sum())


def test_refined_pictures_are_nearer_to_what_each_teacher_remembers():
    teachers, images = toy_teachers()[:2], drawn()
    refined = refine(images, teachers, CONFIG, rng=seeded(0)).images
    for teacher in teachers:
        assert gap(teacher, refined) < 0.7 * gap(teacher, images)


def test_the_batch_norm_term_alone_brings_them_nearer():
    teacher, images = toy_teachers()[0], drawn()
    refined = refine(images, [teacher], replace(CONFIG, class_weight=0.0), rng=seeded(0)).images
    assert gap(teacher, refined) < 0.6 * gap(teacher, images)


def test_a_teacher_that_did_not_look_finds_them_nearer_too():
    *lookers, unseen = toy_teachers()
    images = drawn()
    refined = refine(images, lookers, CONFIG, rng=seeded(0)).images
    assert gap(unseen, refined) < gap(unseen, images)


def test_the_class_term_makes_a_teacher_see_the_classes_drawn():
    teacher = toy_teachers()[0]
    only_classes = replace(CONFIG, bn_weight=0.0)
    images, rng = drawn(), seeded(7)
    wanted = torch.randint(teacher.n_classes, (60,), generator=seeded(7))
    refined = refine(images, [teacher], only_classes, rng=rng).images
    before = (teacher.logits(images).argmax(1) == wanted).float().mean()
    after = (teacher.logits(refined).argmax(1) == wanted).float().mean()
    assert before < 0.6
    assert after > 0.75


def test_without_steps_the_pictures_stay_and_the_originals_are_never_written_to():
    images = drawn()
    kept = images.clone()
    assert torch.equal(
        refine(images, toy_teachers(), replace(CONFIG, steps=0), rng=seeded(0)).images, kept
    )
    refine(images, toy_teachers(), FEW, rng=seeded(0))
    assert torch.equal(images, kept)


def test_mirroring_is_a_switch():
    plain, mirrored = (
        refine(drawn(), toy_teachers(), replace(FEW, flip=flip), rng=seeded(0)).images
        for flip in (False, True)
    )
    assert not torch.equal(plain, mirrored)


def test_a_teacher_without_batch_norm_still_counts_by_its_answers():
    teacher = toy_teachers()[0]
    bare = replace(
        teacher, module=nn.Sequential(nn.Flatten(), nn.Linear(256, 3)).requires_grad_(False)
    )
    images = drawn()
    refined = refine(images, [bare], FEW, rng=seeded(0))
    assert refined.gap_before == refined.gap_after == 0.0
    assert not torch.equal(refined.images, images)


def test_the_reported_gaps_are_those_of_a_teacher_on_average():
    teachers, images = toy_teachers()[:2], drawn()
    refined = refine(images, teachers, CONFIG, rng=seeded(0))
    mean = sum(gap(teacher, images) for teacher in teachers) / 2
    assert refined.gap_before == pytest.approx(mean, rel=1e-4)
    assert refined.gap_after < refined.gap_before


def test_real_images_are_nearer_than_drawn_ones():
    """The measure that refinement descends tells a teacher's own images from others."""
    teacher = toy_teachers()[0]
    own, _ = stripes((0, 3, 6), 20, size=16, channels=1, rng=seeded(11))
    assert gap(teacher, own) < gap(teacher, drawn())
