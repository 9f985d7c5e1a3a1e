"""What recovered images are optimised for: disagreement terms and the augmentation in front.

Dims: B images, N ways, C channels, H height, W width.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.shapes import Float

Adversarial = Literal["kl", "inner_product", "off"]


def augment(
    images: Float[Tensor, "b c h w"], *, padding: int, flip: bool, rng: torch.Generator
) -> Float[Tensor, "b c h w"]:
    """Shift by at most `padding` pixels (zeros enter) and maybe mirror; differentiable.

    One decision for the whole batch, as published. Draws from rng the same number of times
    whatever the arguments, so a switch does not change the rest of a run's randomness.

    Args:
        images: any range; what enters at the border is 0.
        padding: largest shift in pixels, >= 0.
        flip: whether half of the calls mirror left and right; wrong for digits and letters.
        rng: the only source of randomness.
    """
    top, left = torch.randint(2 * padding + 1, (2,), generator=rng, device=rng.device).tolist()
    mirrored = torch.rand((), generator=rng, device=rng.device).item() < 0.5
    height, width = images.shape[-2:]
    if padding:
        padded = F.pad(images, (padding,) * 4)
        images = padded[..., top : top + height, left : left + width]
    return images.flip(-1) if flip and mirrored else images


def disagreement(
    teacher: Float[Tensor, "b n"], student: Float[Tensor, "b n"], *, kind: Adversarial
) -> Float[Tensor, ""]:
    """The adversarial term: low where the two agree on the class but not on its probability.

        L_adv = - mean_b [ 1{argmax s = argmax t} * D_b ]
        "kl":             D = KL( softmax(t) || softmax(s) )
        "inner_product":  D = sum_c s_c * (log s_c - t_c), probabilities in place of log t

    Source: FREE, L_adv; "kl" is what the paper (and FastDFKD) calls it, "inner_product" what the
    published code computes by handing probabilities to a function that expects logarithms.

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
    else:
        distance = (log_s.exp() * (log_s - log_t.exp())).sum(dim=1)
    agree = teacher.detach().argmax(dim=1) == student.argmax(dim=1)
    return -(distance * agree).mean()
