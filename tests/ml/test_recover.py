from dataclasses import replace

import pytest
import torch
from toy_pool import CPU, seeded, toy_teachers

from ml.functional import MetaOptimizer, Params, apply, parameters_of, summed
from ml.inversion.generator import Generator, new_generator
from ml.inversion.recover import (
    Recovery,
    RecoveryConfig,
    conditioned,
    decayed_step,
    draw,
    draw_classes,
    fast_adam,
    recover_task,
    task_logits,
)

CONFIG = RecoveryConfig(
    steps=5,
    images_per_class=8,
    latent_dim=16,
    conditional=False,
    n_way=3,
    generator_lr=1e-2,
    latent_lr=1e-2,
    lr_decay=1.0,
    betas=(0.5, 0.999),
    crop_padding=0,
    crop_fill="zeros",
    flip=False,
    adversarial="kl",
    adversarial_weight=1.0,
    bn_weight=0.0,
    accumulate="last",
    candidates=1,
    precision="float32",
)
CLASSES = (2, 0, 1)


def a_generator(config: RecoveryConfig = CONFIG) -> tuple[Generator, Params]:
    latent = config.latent_dim + (config.n_way if config.conditional else 0)
    generator = new_generator(latent_dim=latent, width=16, image_size=16, channels=1, rng=seeded(0))
    return generator, parameters_of(generator, CPU)


def recovered(config: RecoveryConfig = CONFIG, *, phi=None, teacher=0, seed=1, student=None):
    generator, fresh = a_generator(config)
    return recover_task(
        toy_teachers()[teacher],
        CLASSES,
        generator,
        phi or fresh,
        config,
        student=student,
        rng=seeded(seed),
    )


def agreement(recovery: Recovery, teacher: int = 0) -> float:
    logits = task_logits(toy_teachers()[teacher], recovery.images, CLASSES)
    return (logits.argmax(dim=1) == recovery.labels).float().mean().item()


def test_five_steps_raise_the_teachers_agreement_above_the_untrained_generators():
    one_step = replace(CONFIG, steps=1)
    untrained = sum(agreement(recovered(one_step, teacher=1, seed=s), 1) for s in range(3)) / 3
    adapted = sum(agreement(recovered(teacher=1, seed=s), 1) for s in range(3)) / 3
    assert adapted > untrained + 0.2


def test_the_outer_update_helps_on_a_teacher_it_never_saw():
    """Teachers 0 to 2 train the meta-generator, teacher 3 judges it."""
    for conditional in (False, True):
        config = replace(CONFIG, conditional=conditional, accumulate="all")
        generator, phi = a_generator(config)
        meta = MetaOptimizer(phi, lr=3e-3, betas=(0.5, 0.999))
        rng = seeded(5)
        for _ in range(8):
            parts = [
                recover_task(
                    teacher, CLASSES, generator, meta.params, config, student=None, rng=rng
                )
                for teacher in toy_teachers()[:3]
            ]
            meta.step(summed([part.meta_gradient for part in parts]))
        before = sum(recovered(config, teacher=3, seed=s).loss for s in range(3)) / 3
        after = (
            sum(recovered(config, phi=meta.params, teacher=3, seed=s).loss for s in range(3)) / 3
        )
        assert after < 0.8 * before


def test_labels_go_round_and_name_the_places_of_the_classes():
    recovery = recovered()
    assert recovery.labels.tolist() == [0, 1, 2] * 8
    teacher, images = toy_teachers()[0], recovery.images
    torch.testing.assert_close(
        task_logits(teacher, images, CLASSES), teacher.logits(images)[:, [2, 0, 1]]
    )


def test_recovery_leaves_the_meta_generator_and_the_teacher_alone():
    _, phi = a_generator()
    teacher = toy_teachers()[0].module
    before = {n: t.clone() for n, t in (phi | dict(teacher.state_dict())).items()}
    recovered(replace(CONFIG, bn_weight=1.0), phi=phi)
    after = phi | dict(teacher.state_dict())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(layer._forward_hooks for layer in teacher.modules())


def test_with_one_step_the_meta_gradient_is_plain_autograds_and_the_images_are_unadapted():
    """FOMAML's gradient of one step is that of the loss at phi itself."""
    config = replace(CONFIG, steps=1)
    generator, phi = a_generator(config)
    found = recovered(config)
    rng = seeded(1)
    z = draw(24, config, rng).latents
    leaves = {name: p.clone().requires_grad_() for name, p in phi.items()}
    images = apply(generator, leaves, z)
    logits = toy_teachers()[0].logits(images)[:, [2, 0, 1]]
    torch.nn.functional.cross_entropy(logits, found.labels).backward()
    torch.testing.assert_close(found.images, images.detach())
    for name, p in leaves.items():
        torch.testing.assert_close(found.meta_gradient[name], p.grad)


def test_step_sizes_fall_geometrically_to_the_decays_share_of_the_first():
    config = replace(CONFIG, steps=3, lr_decay=0.01)
    z = torch.zeros(2, requires_grad=True)
    adam = fast_adam({"w": torch.zeros(2, requires_grad=True)}, z, config)
    sizes = []
    for step in range(config.steps):
        z.grad = torch.ones(2)
        decayed_step(adam, step, config)
        sizes.append([group["lr"] for group in adam.param_groups])
    expected = [[1e-2, 1e-2], [1e-3, 1e-3], [1e-4, 1e-4]]
    torch.testing.assert_close(torch.tensor(sizes), torch.tensor(expected))
    assert z[0].item() == pytest.approx(-1.11e-2, rel=1e-3)  # Adam's step is its size here


def test_all_gradients_are_the_sum_over_shorter_runs_last_ones():
    """The last gradient of a run of k steps is the k-th of a longer one with the same rng."""
    lasts = [recovered(replace(CONFIG, steps=k)).meta_gradient for k in (1, 2, 3)]
    together = recovered(replace(CONFIG, steps=3, accumulate="all")).meta_gradient
    for name, gradient in summed(lasts).items():
        torch.testing.assert_close(together[name], gradient)


def test_the_batch_norm_term_brings_activations_closer_to_the_remembered_statistics():
    def gap(recovery: Recovery) -> float:
        from ml.inversion.statistics import batch_norm_gaps

        teacher = toy_teachers()[0]
        with batch_norm_gaps(teacher.module) as gaps:
            teacher.logits(recovery.images)
        return float(torch.stack(gaps).sum())

    long = replace(CONFIG, steps=15)
    assert gap(recovered(replace(long, bn_weight=1.0))) < 0.9 * gap(recovered(long))


def test_the_disagreement_term_counts_only_when_there_is_a_student():
    def student(images):
        return torch.tensor([[3.0, 0.0, -3.0, 9.0, 9.0]]).expand(len(images), -1)

    alone, together = recovered(), recovered(student=student)
    switched_off = recovered(replace(CONFIG, adversarial="off"), student=student)
    assert torch.equal(alone.images, switched_off.images)
    assert not torch.equal(alone.images, together.images)


def test_a_conditional_generator_is_told_the_label_as_loudly_as_the_noise():
    config = replace(CONFIG, conditional=True, latent_dim=16)
    told = conditioned(torch.zeros(3, 16), torch.tensor([0, 1, 2]), config)
    torch.testing.assert_close(told[:, 16:], 4 * torch.eye(3))


def test_a_task_is_a_random_order_of_different_classes():
    teacher = toy_teachers()[0]
    drawn = {draw_classes(teacher, 5, seeded(seed)) for seed in range(40)}
    assert all(sorted(classes) == [0, 1, 2] for classes in drawn)
    assert len(drawn) == 6
    assert {len(draw_classes(teacher, 2, seeded(seed))) for seed in range(5)} == {2}
