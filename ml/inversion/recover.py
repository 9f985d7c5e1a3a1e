"""FIve: recover a teacher's task in a few steps from a shared meta-generator.

Dims: B images, N ways, Z latent, C channels, S side length, P candidates.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.functional import Params, apply, leaves, reptile_gradient, summed
from ml.inversion.generator import Generator
from ml.inversion.objectives import Adversarial, Fill, Shift, disagreement, draw_shift, shifted
from ml.inversion.precision import Precision, computing_in
from ml.inversion.statistics import batch_norm_gaps
from ml.shapes import Float, Int
from ml.types import Teacher

Accumulate = Literal["last", "all", "reptile"]

REPTILE_SCALE = 67.0  # FastDFKD's factor of phi - phi'; Adam's outer step makes it immaterial

Student = Callable[[Tensor], Tensor]
"""Canvas images (B, C, S, S) in [0, 1] -> (B, n) logits of the meta-learner, without gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryConfig:
    """What one recovery depends on; FreeConfig documents each number and its origin."""

    steps: int
    images_per_class: int
    latent_dim: int
    candidates: int
    conditional: bool
    n_way: int
    generator_lr: float
    latent_lr: float
    lr_decay: float
    betas: tuple[float, float]
    crop_padding: int
    crop_fill: Fill
    flip: bool
    adversarial: Adversarial
    adversarial_weight: float
    bn_weight: float
    accumulate: Accumulate
    precision: Precision


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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Draws:
    """All randomness of one recovery, so that recovering one by one or many at once is the same."""

    latents: Float[Tensor, "p z"]
    shifts: tuple[Shift, ...]
    """One per step."""


def draw(n_images: int, config: RecoveryConfig, rng: torch.Generator) -> Draws:
    """z ~ N(0, I) for each image, or several to choose from, and one augmentation per step."""
    size = (n_images * config.candidates, config.latent_dim)
    latents = torch.randn(size, generator=rng, device=rng.device)
    shifts = tuple(draw_shift(config.crop_padding, rng) for _ in range(config.steps))
    return Draws(latents=latents, shifts=shifts)


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
    pass, before its step, as published. The meta-gradient is dL/dphi' of the last step, the sum
    over all steps (both first-order MAML) or 67 (phi - phi') after a k-th step (Reptile).

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
    draws = draw(len(labels), config, rng)
    z = first_latents(teacher, classes, generator, phi, draws, labels, config).requires_grad_()
    adam = fast_adam(fast, z, config)
    met: list[Params] = []
    with ExitStack() as stack:
        gaps = stack.enter_context(batch_norm_gaps(teacher.module)) if config.bn_weight else []
        for step, shift in enumerate(draws.shifts):
            gaps.clear()
            with computing_in(config.precision, device):
                images = apply(generator, fast, conditioned(z, labels, config))
                seen = augmented(images, shift, config)
                t = task_logits(teacher, seen, classes).float()
            s = student_opinion(student, seen, len(classes), config)
            gap = torch.stack(gaps).sum() if gaps else None
            loss = inversion_loss(t, labels, s, gap, config)
            adam.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if config.accumulate == "all" or step == config.steps - 1:
                met.append({n: as_gradient(p).clone() for n, p in fast.items()})
            decayed_step(adam, step, config)
    reptile = config.accumulate == "reptile"
    return Recovery(
        images=images.detach().float(),
        labels=labels,
        meta_gradient=reptile_gradient(phi, fast, scale=REPTILE_SCALE) if reptile else summed(met),
        loss=float(loss.detach()),
        accuracy=float((t.argmax(dim=1) == labels).float().mean()),
    )


def augmented(
    images: Float[Tensor, "b c s s"], shift: Shift, config: RecoveryConfig
) -> Float[Tensor, "b c s s"]:
    """What the teacher sees of the images."""
    return shifted(
        images, shift, padding=config.crop_padding, fill=config.crop_fill, flip=config.flip
    )


def fast_adam(fast: Params, z: Tensor, config: RecoveryConfig) -> torch.optim.Adam:
    """The optimiser of one recovery: of the generator's fast copy and of the latents."""
    groups = [
        {"params": list(fast.values()), "lr": config.generator_lr},
        {"params": [z], "lr": config.latent_lr},
    ]
    return torch.optim.Adam(groups, betas=config.betas, fused=True)


def decayed_step(adam: torch.optim.Adam, step: int, config: RecoveryConfig) -> None:
    """One inner step; the sizes fall geometrically to lr_decay of where they start."""
    factor = config.lr_decay ** (step / max(config.steps - 1, 1))
    for group, lr in zip(adam.param_groups, (config.generator_lr, config.latent_lr), strict=True):
        group["lr"] = lr * factor
    adam.step()


def as_gradient(p: Tensor) -> Tensor:
    """A leaf's gradient, zeros where no loss reached it."""
    return torch.zeros_like(p) if p.grad is None else p.grad


@torch.no_grad()
def first_latents(
    teacher: Teacher,
    classes: Sequence[int],
    generator: Generator,
    phi: Params,
    draws: Draws,
    labels: Int[Tensor, " b"],
    config: RecoveryConfig,
) -> Float[Tensor, "b z"]:
    """Where the latents start: as drawn, or those the teacher is surest of out of more.

    Deviation from the paper, which gives a latent a label whatever the generator paints from it:
    with `candidates` above 1 each class gets the images that its teacher already sees it in.
    """
    device = labels.device
    latents = draws.latents.to(device)
    if config.candidates == 1:
        return latents
    certainty = []
    with computing_in(config.precision, device):
        for z in torch.split(latents, len(labels)):
            images = apply(generator, phi, conditioned(z, labels, config))
            certainty.append(task_logits(teacher, images, classes).float().log_softmax(dim=1))
    return latents[surest(torch.cat(certainty), labels)]


def surest(log_p: Float[Tensor, "p n"], labels: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Different rows for all labels; in their order, each takes the row left that is surest of it.

    Labels go round the classes, so no class has all the first picks.
    """
    queues = log_p.argsort(dim=0, descending=True, stable=True).T.tolist()
    taken = [False] * len(log_p)
    heads = [0] * len(queues)
    rows: list[int] = []
    for label in labels.tolist():
        queue = queues[label]
        while taken[queue[heads[label]]]:
            heads[label] += 1
        rows.append(queue[heads[label]])
        taken[rows[-1]] = True
    return torch.tensor(rows, device=labels.device)


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
    s: Float[Tensor, "b n"] | None,
    gap: Float[Tensor, ""] | None,
    config: RecoveryConfig,
) -> Float[Tensor, ""]:
    """L_G = CE + w_adv * L_adv + w_bn * sum of BatchNorm gaps, in nats (gaps in activations).

    Args:
        t: the teacher's logits.
        labels: what the images should be.
        s: the meta-learner's logits; None leaves L_adv out.
        gap: the sum over layers; None leaves it out.
        config: the weights.
    """
    loss = F.cross_entropy(t, labels)
    if s is not None:
        loss = loss + config.adversarial_weight * disagreement(t, s, kind=config.adversarial)
    if gap is not None:
        loss = loss + config.bn_weight * gap
    return loss


def student_opinion(
    student: Student | None, seen: Float[Tensor, "b c s s"], n_way: int, config: RecoveryConfig
) -> Float[Tensor, "b n"] | None:
    """The meta-learner's logits of what the teacher saw, if L_adv wants them."""
    if student is None or config.adversarial == "off":
        return None
    return student(seen.detach().float())[:, :n_way]
