"""What recovered images are optimised for: disagreement terms and the augmentation in front.

Dims: B images, N ways, C channels, H height, W width.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.shapes import Float

Adversarial = Literal["kl", "js", "inner_product", "off"]
Fill = Literal["zeros", "reflect"]


@dataclass(frozen=True, slots=True)
class Shift:
    """One augmentation: where the window lies in the padded images, and whether it is mirrored."""

    top: int
    left: int
    mirrored: bool


def draw_shift(padding: int, rng: torch.Generator) -> Shift:
    """A window uniform over all places, mirrored half of the time.

    Draws from rng the same number of times whatever the padding, so a switch does not change the
    rest of a run's randomness.
    """
    top, left = torch.randint(2 * padding + 1, (2,), generator=rng, device=rng.device).tolist()
    mirrored = torch.rand((), generator=rng, device=rng.device).item() < 0.5
    return Shift(top=top, left=left, mirrored=mirrored)


def shifted(
    images: Float[Tensor, "b c h w"], shift: Shift, *, padding: int, fill: Fill, flip: bool
) -> Float[Tensor, "b c h w"]:
    """The window of the padded images that shift names, mirrored if flip allows it."""
    height, width = images.shape[-2:]
    if padding:
        mode = "constant" if fill == "zeros" else "reflect"
        padded = F.pad(images, (padding,) * 4, mode=mode)
        images = padded[..., shift.top : shift.top + height, shift.left : shift.left + width]
    return images.flip(-1) if flip and shift.mirrored else images


def augment(
    images: Float[Tensor, "b c h w"],
    *,
    padding: int,
    fill: Fill = "zeros",
    flip: bool,
    rng: torch.Generator,
) -> Float[Tensor, "b c h w"]:
    """Shift by at most `padding` pixels and maybe mirror; differentiable.

    One decision for the whole batch, as published.

    Args:
        images: any range.
        padding: largest shift in pixels, >= 0 and less than the side.
        fill: what enters at the border.
        flip: whether half of the calls mirror left and right; wrong for digits and letters.
        rng: the only source of randomness.
    """
    return shifted(images, draw_shift(padding, rng), padding=padding, fill=fill, flip=flip)


def disagreement(
    teacher: Float[Tensor, "b n"], student: Float[Tensor, "b n"], *, kind: Adversarial
) -> Float[Tensor, ""]:
    """The adversarial term: low where the two agree on the class but not on its probability.

        L_adv = - mean_b [ 1{argmax s = argmax t} * D_b ]
        "kl":             D = KL( softmax(t) || softmax(s) )
        "js":             D = ( KL( t || m ) + KL( s || m ) ) / 2 with m = (t + s) / 2
        "inner_product":  D = sum_c s_c * (log s_c - t_c), probabilities in place of log t

    Source: FREE, L_adv; "kl" is what the paper (and FastDFKD) calls it, "inner_product" what the
    published code computes by handing probabilities to a function that expects logarithms, "js"
    the competition term of DeepInversion (Yin et al. 2020, Eq. 7), which is bounded.

    Args:
        teacher: logits; the only input that receives a gradient.
        student: logits of the meta-learner; detached here.
        kind: which D; "off" gives zero.

    Returns:
        Mean over the batch, in nats.
    """
    if kind == "off":
        return teacher.new_zeros(())
    log_s = student.detach().log_softmax(dim=1)
    log_t = teacher.log_softmax(dim=1)
    if kind == "kl":
        distance = (log_t.exp() * (log_t - log_s)).sum(dim=1)
    elif kind == "js":
        log_m = torch.logaddexp(log_t, log_s) - math.log(2.0)
        distance = (log_t.exp() * (log_t - log_m) + log_s.exp() * (log_s - log_m)).sum(dim=1) / 2
    else:
        distance = (log_s.exp() * (log_s - log_t.exp())).sum(dim=1)
    agree = teacher.detach().argmax(dim=1) == student.argmax(dim=1)
    return -(distance * agree).mean()
