"""Whether a classifier behaves like one that was trained, told from the classifier alone.

Two things set a trained network apart. It gives a picture and a changed copy of it the same answer,
is sure of it, and answers different pictures differently: random weights and weights that learnt
labels without meaning do not. And neighbours within its first filters are alike, as neighbouring
pixels of natural images are: those of random weights, and of weights that learnt noise, are not.
The pictures are drawn by chance, so nobody's data are needed. docs/algorithms/reliability.md says
what was measured, and what this cannot tell.

Dims: B pictures, C channels, S side length in pixels, K classes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml.answers import logits_of
from ml.drawing import draw_images
from ml.shapes import Float
from ml.types import Teacher

PICTURES, SIDE, SEED = 64, 32, 0
SHIFT = 1  # pixels of SIDE, right and up
EDGE = 3  # pixels of SIDE that the copy loses at each side
CONTRAST, GRAIN = 0.9, 0.04  # of the copy; grain in units of the full range
DOUBTFUL_INFORMATION, DOUBTFUL_SMOOTHNESS = 0.02, 0.08
"""What makes a reliability of 1/2: between the least of honest models and the most of others."""
MEASURED = frozenset({"conv4", "conv4_64"})
"""Backbones whose honest models were seen to lie above 1/2; of others nothing is said."""


def reliability(teacher: Teacher) -> float | None:
    """How much a teacher behaves like a trained classifier, 0 to 1; None where it cannot be told.

        r = min( I / (I + I_0), C / (C + C_0) ),   I = information_of, C = smoothness_of

    Deterministic, on the CPU; from 1/2 on it is as expected of a trained model. None for backbones
    that are not MEASURED, and where answers are not finite numbers.
    """
    if teacher.backbone not in MEASURED:
        return None
    information = information_of(teacher)
    if information is None:
        return None
    smooth = smoothness_of(teacher)
    return min(
        information / (information + DOUBTFUL_INFORMATION),
        smooth / (smooth + DOUBTFUL_SMOOTHNESS),
    )


def information_of(teacher: Teacher) -> float | None:
    """The shared_information of a teacher's answers; None where they are not finite numbers."""
    pictures = draw_images(
        PICTURES,
        image_size=SIDE,
        channels=teacher.channels,
        rng=torch.Generator().manual_seed(SEED),
    )
    answers = [logits_of(teacher, each).cpu().double() for each in (pictures, changed(pictures))]
    if not all(bool(each.isfinite().all()) for each in answers):
        return None
    return shared_information(*(each.softmax(dim=1) for each in answers))


def changed(pictures: Float[Tensor, "b c s s"]) -> Float[Tensor, "b c s s"]:
    """The same pictures moved a little, seen nearer, paler, and with grain; not mirrored.

    A digit or a letter is another one in a mirror, so answers to mirror images say nothing.
    """
    side = pictures.shape[-1]
    rows = slice(EDGE + SHIFT, side - EDGE + SHIFT)
    columns = slice(EDGE - SHIFT, side - EDGE - SHIFT)
    near = F.interpolate(pictures[..., rows, columns], size=(side, side), mode="bilinear")
    rng = torch.Generator().manual_seed(SEED + 1)
    grain = GRAIN * torch.randn(near.shape, generator=rng)
    return (0.5 + CONTRAST * (near - 0.5) + grain).clamp(0.0, 1.0)


def shared_information(first: Float[Tensor, "b k"], second: Float[Tensor, "b k"]) -> float:
    """What answers to pictures tell of the answers to their copies, as a share of ln K: 0 to 1.

        P = 1/B sum_b p(x_b) p(x'_b)^T, made symmetric;   I = sum_kl P_kl ln(P_kl / (P_k P_l))

    High only where answers are sure, stay with the copy, and differ between pictures. Source: Ji,
    Henriques and Vedaldi 2019 (invariant information clustering), Eq. 2 and 3, who train by it;
    to judge a finished classifier by it is ours.

    Args:
        first: probabilities, rows sum to 1.
        second: likewise, of the copies.
    """
    joint = first.T @ second / len(first)
    joint = (joint + joint.T) / 2
    alone = joint.sum(dim=1)
    independent = alone.unsqueeze(1) * alone
    tiny = torch.finfo(joint.dtype).tiny
    ratio = joint.clamp_min(tiny).log() - independent.clamp_min(tiny).log()
    return min(max(float((joint * ratio).sum()) / math.log(first.shape[1]), 0.0), 1.0)


def smoothness_of(teacher: Teacher) -> float:
    """The smoothness of the filters that see the pixels."""
    parts = teacher.module.modules()
    return smoothness(next(part.weight for part in parts if isinstance(part, nn.Conv2d)))


def smoothness(filters: Float[Tensor, "d c h w"]) -> float:
    """How alike neighbouring weights are: their correlation, 0 where it is none or negative.

        C = 1 - (mean (w_ij - w_i,j+1)^2 + mean (w_ij - w_i+1,j)^2) / (4 var w)

    0 in expectation for independent weights, 1 for flat filters. Filters that learnt natural images
    are smooth (Krizhevsky et al. 2012, figure 3); to judge a network by it is ours.
    """
    weights = filters.double()
    across = (weights[..., 1:] - weights[..., :-1]).square().mean()
    down = (weights[..., 1:, :] - weights[..., :-1, :]).square().mean()
    rough = float((across + down) / (4 * weights.var()))
    return max(1.0 - rough, 0.0) if math.isfinite(rough) else 0.0
