"""Many tasks at once give what one after the other gives."""

from dataclasses import replace

import pytest
import torch
from test_recover import CONFIG, a_generator
from toy_pool import seeded, toy_teacher, toy_teachers

from ml.inversion.recover import recover_task, surest
from ml.inversion.stacked import form_of, recover_tasks

CLASSES = [(2, 0, 1), (0, 1, 2), (1, 0), (2, 1, 0)]


def flat_student(images):
    return images.mean(dim=(1, 2, 3)).unsqueeze(1) * torch.arange(3.0)


def loop_and_stack(config, *, student=None, teachers=None, classes=CLASSES):
    generator, phi = a_generator(config)
    phi = {
        name: 4 * p for name, p in phi.items()
    }  # so that candidates differ by more than rounding
    pool = teachers or toy_teachers()
    rng = seeded(4)
    loop = [
        recover_task(teacher, chosen, generator, phi, config, student=student, rng=rng)
        for teacher, chosen in zip(pool, classes, strict=True)
    ]
    at_once = recover_tasks(pool, classes, generator, phi, config, student=student, rng=seeded(4))
    return loop, at_once


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bn_weight": 0.1},
        {"candidates": 3},
        {"conditional": True},
        {"crop_padding": 2, "crop_fill": "reflect", "flip": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("student", [None, flat_student], ids=["warm-up", "adversarial"])
def test_one_step_of_stacked_teachers_has_each_ones_images_and_gradient(changes, student):
    config = replace(CONFIG, steps=1, **changes)
    for alone, stacked in zip(*loop_and_stack(config, student=student), strict=True):
        torch.testing.assert_close(stacked.images, alone.images, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(stacked.labels, alone.labels)
        assert stacked.loss == pytest.approx(alone.loss, rel=1e-4)
        assert stacked.accuracy == alone.accuracy
        for name, gradient in alone.meta_gradient.items():
            error = torch.linalg.vector_norm(stacked.meta_gradient[name] - gradient)
            assert error <= 1e-2 * torch.linalg.vector_norm(gradient) + 1e-4, name


@pytest.mark.parametrize("accumulate", ["last", "all", "reptile"])
def test_several_steps_stay_together(accumulate):
    config = replace(CONFIG, steps=3, accumulate=accumulate, bn_weight=0.1)
    for alone, stacked in zip(*loop_and_stack(config), strict=True):
        # Adam divides by the gradient's size: where that is rounding, so is the step, and which
        # pixels that touches depends on the processor.
        apart = (stacked.images - alone.images).abs().flatten()
        assert apart.mean() < 1e-3
        assert apart.quantile(0.99) < 1e-2
        assert stacked.loss == pytest.approx(alone.loss, rel=2e-2)


def test_teachers_of_different_form_are_recovered_apart_and_returned_in_order():
    pool = [
        toy_teachers()[0],
        toy_teacher(range(3), seed=9, backbone="resnet10", size=32, channels=3, steps=1),
        toy_teachers()[1],
    ]
    config = replace(CONFIG, steps=1, bn_weight=0.1)
    classes = [(0, 1, 2)] * 3
    for alone, stacked in zip(*loop_and_stack(config, teachers=pool, classes=classes), strict=True):
        torch.testing.assert_close(stacked.images, alone.images, atol=1e-5, rtol=1e-5)
        assert stacked.loss == pytest.approx(alone.loss, rel=1e-4)


def test_networks_that_compute_differently_have_different_forms():
    plain = toy_teachers()[0]
    resnets = [toy_teacher(range(3), seed=1, backbone="resnet10", steps=1) for _ in range(2)]
    assert form_of(plain) == form_of(toy_teachers()[1])
    assert form_of(resnets[0]) == form_of(resnets[1])
    resnets[1].module.encoder.stem_relu = False
    assert form_of(resnets[0]) != form_of(resnets[1])
    assert form_of(plain) != form_of(replace(plain, mean=(0.4,)))


def test_every_label_gets_a_row_of_its_own_and_the_surest_first():
    log_p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.2, 0.8]]).log()
    assert surest(log_p, torch.tensor([0, 1, 0, 1])).tolist() == [0, 3, 1, 2]
