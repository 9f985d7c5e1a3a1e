"""Inversion in pixels: pictures moved towards what several teachers remember of their data.

Dims: B images, C channels, S side length in pixels.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.errors import NoBatchNorm
from ml.inversion.precision import Precision, computing_in
from ml.inversion.statistics import batch_norm_gaps
from ml.shapes import Float
from ml.types import Teacher

BETAS = (0.5, 0.9)  # short memories: the pixels take few steps


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineConfig:
    """What one refinement depends on."""

    steps: int
    """Adam steps on the pixels; 0 leaves the images alone."""
    lr: float
    """The first step's size, in units of the full range; it falls linearly towards zero."""
    class_weight: float
    """Of the cross-entropy towards a class drawn for each image and teacher."""
    bn_weight: float
    """Of the BatchNorm gaps."""
    flip: bool
    """Whether half of the steps look at the mirror images; wrong for digits and letters."""
    precision: Precision


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Refined:
    """Images, and how far they were from the teachers' memories."""

    images: Float[Tensor, "b c s s"]
    gap_before: float
    """Mean BatchNorm gap of a teacher at the first step; 0 without steps or BatchNorm layers."""
    gap_after: float
    """The same at the last step."""


def refine(
    images: Float[Tensor, "b c s s"],
    teachers: Sequence[Teacher],
    config: RefineConfig,
    *,
    rng: torch.Generator,
) -> Refined:
    """Descend, in the pixels, along what several teachers find wrong with them.

        sum over teachers of w_bn L_BN + w_class CE(t, y),  y drawn for each image and teacher

    Several teachers at once, so that no picture becomes one network's private noise. Source: L_BN
    of Yin et al. 2020 (DeepInversion), Eq. 4; starting from drawn pictures, not noise, is ours.

    Args:
        images: in [0, 1], on the teachers' device; at least 2, for statistics.
        teachers: those who look; of one without BatchNorm layers only the cross-entropy counts.
        config: numbers.
        rng: a CPU generator, the only source of randomness.
    """
    wanted = [
        torch.randint(teacher.n_classes, (len(images),), generator=rng).to(images.device)
        for teacher in teachers
    ]
    pixels = images.clone().requires_grad_()
    adam = torch.optim.Adam([pixels], lr=config.lr, betas=BETAS)
    gaps: list[float] = []
    for step in range(config.steps):
        adam.param_groups[0]["lr"] = config.lr * (1.0 - step / config.steps)
        mirrored = torch.rand((), generator=rng).item() < 0.5 and config.flip
        seen = pixels.clamp(0.0, 1.0)
        seen = seen.flip(-1) if mirrored else seen
        loss, gap = _loss(seen, teachers, wanted, config)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        gaps.append(float(gap) / len(teachers))
    return Refined(
        images=pixels.detach().clamp(0.0, 1.0),
        gap_before=gaps[0] if gaps else 0.0,
        gap_after=gaps[-1] if gaps else 0.0,
    )


def _loss(
    seen: Tensor, teachers: Sequence[Teacher], wanted: Sequence[Tensor], config: RefineConfig
) -> tuple[Tensor, Tensor]:
    """The loss, and the sum of all BatchNorm gaps in it."""
    loss, gap = seen.new_zeros(()), seen.new_zeros(())
    for teacher, labels in zip(teachers, wanted, strict=True):
        gaps: list[Tensor] = []
        with ExitStack() as stack:
            try:
                gaps = stack.enter_context(batch_norm_gaps(teacher.module))
            except NoBatchNorm:
                gaps = []
            stack.enter_context(computing_in(config.precision, seen.device))
            logits = teacher.logits(seen).float()
        loss = loss + config.class_weight * F.cross_entropy(logits, labels)
        if gaps:
            own = torch.stack(gaps).sum()
            loss, gap = loss + config.bn_weight * own, gap + own.detach()
    return loss, gap
