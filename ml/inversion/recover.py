"""FIve: recover a teacher's task in a few steps from a shared meta-generator.

Dims: B images, N ways, Z latent, C channels, S side length.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.functional import Params, apply, leaves, summed
from ml.inversion.generator import Generator
from ml.inversion.objectives import Adversarial, augment, disagreement
from ml.inversion.statistics import batch_norm_gaps
from ml.shapes import Float, Int
from ml.types import Teacher

Student = Callable[[Tensor], Tensor]
"""Canvas images (B, C, S, S) in [0, 1] -> (B, n) logits of the meta-learner, without gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryConfig:
    """What one recovery depends on; FreeConfig documents each number and its origin."""

    steps: int
    images_per_class: int
    latent_dim: int
    conditional: bool
    n_way: int
    generator_lr: float
    latent_lr: float
    betas: tuple[float, float]
    crop_padding: int
    flip: bool
    adversarial: Adversarial
    adversarial_weight: float
    bn_weight: float
    accumulate: Literal["last", "all"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Recovery:
    """A recovered task: images of the chosen classes and what the meta-generator learns from it."""

    images: Float[Tensor, "b c s s"]
    labels: Int[Tensor, " b"]
    meta_gradient: Params
    loss: float
    """Of the last step, in nats."""
    accuracy: float
    """Share of the images that the teacher gives the label they were made for."""


def task_logits(
    teacher: Teacher, images: Float[Tensor, "b c h w"], classes: Sequence[int]
) -> Float[Tensor, "b n"]:
    """A teacher's logits restricted to a task's classes, in the task's order."""
    return teacher.logits(images)[:, list(classes)]


def draw_classes(teacher: Teacher, n_way: int, rng: torch.Generator) -> tuple[int, ...]:
    """n_way of a teacher's classes at random, or all of them in random order when it has fewer."""
    order = torch.randperm(teacher.n_classes, generator=rng, device=rng.device)
    return tuple(order[:n_way].tolist())


def recover_task(
    teacher: Teacher,
    classes: Sequence[int],
    generator: Generator,
    phi: Params,
    config: RecoveryConfig,
    *,
    student: Student | None,
    rng: torch.Generator,
) -> Recovery:
    """Make images of a task from its teacher alone (FREE, FIve's inner loop).

        phi' <- phi, z ~ N(0, I); k times: one Adam step on (phi', z) along
        L = CE(t, y) + w_adv * L_adv(t, s) + w_bn * sum_l gap_l

    with t the teacher's logits of the augmented images. The images are those of the last forward
    pass, before its step, as published. The meta-gradient is dL/dphi' of the last step or the sum
    over all steps: first-order MAML.

    Args:
        teacher: the frozen classifier.
        classes: the task: indices into the teacher's outputs; the label is the place in here.
        generator: says what is computed; never written to.
        phi: the meta-generator's parameters; never written to.
        config: steps, sizes, weights.
        student: the meta-learner for L_adv; None leaves the term out (warm-up).
        rng: the only source of randomness.
    """
    device = next(iter(phi.values())).device
    fast = leaves(phi)
    labels = torch.arange(len(classes), device=device).repeat(config.images_per_class)
    z = draw_latent(len(labels), config, rng).to(device).requires_grad_()
    groups = [
        {"params": list(fast.values()), "lr": config.generator_lr},
        {"params": [z], "lr": config.latent_lr},
    ]
    adam = torch.optim.Adam(groups, betas=config.betas, fused=True)
    met: list[Params] = []
    with ExitStack() as stack:
        gaps = stack.enter_context(batch_norm_gaps(teacher.module)) if config.bn_weight else []
        for step in range(config.steps):
            gaps.clear()
            images = apply(generator, fast, conditioned(z, labels, config))
            seen = augment(images, padding=config.crop_padding, flip=config.flip, rng=rng)
            t = task_logits(teacher, seen, classes)
            loss = inversion_loss(t, labels, seen, gaps, config, student=student)
            adam.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if config.accumulate == "all" or step == config.steps - 1:
                met.append({n: as_gradient(p).clone() for n, p in fast.items()})
            if step < config.steps - 1:
                adam.step()
    return Recovery(
        images=images.detach(),
        labels=labels,
        meta_gradient=summed(met),
        loss=float(loss.detach()),
        accuracy=float((t.argmax(dim=1) == labels).float().mean()),
    )


def as_gradient(p: Tensor) -> Tensor:
    """A leaf's gradient, zeros where no loss reached it."""
    return torch.zeros_like(p) if p.grad is None else p.grad


def draw_latent(n_images: int, config: RecoveryConfig, rng: torch.Generator) -> Tensor:
    """One z ~ N(0, I) per image: (B, Z)."""
    return torch.randn((n_images, config.latent_dim), generator=rng, device=rng.device)


def conditioned(
    z: Float[Tensor, "b z"], labels: Int[Tensor, " b"], config: RecoveryConfig
) -> Float[Tensor, "b z2"]:
    """z, with the label's one-hot vector beside it when the generator is conditional.

    The vector is scaled to the length of z, else one entry would drown among latent_dim others.
    """
    if not config.conditional:
        return z
    one_hot = F.one_hot(labels, config.n_way).to(z.dtype)
    return torch.cat([z, one_hot * config.latent_dim**0.5], dim=1)


def inversion_loss(
    t: Float[Tensor, "b n"],
    labels: Int[Tensor, " b"],
    seen: Float[Tensor, "b c s s"],
    gaps: Sequence[Tensor],
    config: RecoveryConfig,
    *,
    student: Student | None,
) -> Float[Tensor, ""]:
    """L_G = CE + w_adv * L_adv + w_bn * sum of BatchNorm gaps, in nats (gaps in activations)."""
    loss = F.cross_entropy(t, labels)
    if student is not None and config.adversarial != "off":
        s = student(seen.detach())[:, : t.shape[1]]
        loss = loss + config.adversarial_weight * disagreement(t, s, kind=config.adversarial)
    if gaps:
        loss = loss + config.bn_weight * torch.stack(list(gaps)).sum()
    return loss
