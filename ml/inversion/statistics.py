"""How far a batch's activations are from what a teacher's BatchNorm layers remember.

Dims: B images, C channels, H height, W width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ml.errors import NoBatchNorm

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


class ChannelMoments(torch.autograd.Function):
    """Mean and variance of each channel about a shift: (B, C, H, W), (C,) -> (C,), (C,).

    The same numbers as torch.var_mean, which on a CPU takes ten times as long and needs several
    passes over the activations for its gradient; this one needs one:
    dL/dx = (2 gv / n) x + (gm / n - (2 gv / n) mean). Sums of squares are taken about the shift,
    so that they lose no digits where the mean is large against the deviation.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Mean minus shift, and biased variance, in the shift's precision."""
        rows = x.movedim(1, -1).flatten(0, -2) - shift.to(x.dtype)
        mean = rows.mean(dim=0, dtype=shift.dtype)
        square = (rows * rows).mean(dim=0, dtype=shift.dtype)
        return mean, (square - mean * mean).clamp_min(0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, ...]) -> None:
        """Keep what the gradient needs."""
        x, shift = inputs
        ctx.save_for_backward(x, shift, output[0])

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        """One affine pass over the activations."""
        x, shift, mean = ctx.saved_tensors
        to_mean, to_variance = slopes
        n = x.numel() // x.shape[1]
        factor = 2.0 * to_variance / n
        offset = to_mean / n - factor * (mean + shift)
        factor, offset = (v.to(x.dtype).view(1, -1, 1, 1) for v in (factor, offset))
        return torch.addcmul(offset, x, factor), None


def record_gap_into(gaps: list[Tensor]) -> Hook:
    """A forward hook that appends one layer's gap, in the units of its activations."""

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        remembered_mean, remembered_variance = layer.running_mean, layer.running_var
        assert isinstance(remembered_mean, Tensor)
        assert isinstance(remembered_variance, Tensor)
        off_mean, variance = ChannelMoments.apply(inputs[0], remembered_mean)
        gaps.append(
            torch.linalg.vector_norm(off_mean)
            + torch.linalg.vector_norm(variance - remembered_variance)
        )

    return record


@contextmanager
def batch_norm_gaps(teacher: nn.Module) -> Iterator[list[Tensor]]:
    """Collect, per BatchNorm layer, the gap between seen and remembered statistics.

        gap_l = || mean_l(x) - running_mean_l ||_2 + || var_l(x) - running_var_l ||_2

    Source: Yin et al. 2020 (DeepInversion), Eq. 4. Deviation from the published DFML code: hooks
    live as long as the with-block and are removed also when it fails.

    Args:
        teacher: a network in eval mode.

    Yields:
        A list that every forward pass of the teacher extends by one scalar per layer; the caller
        clears it between passes.

    Raises:
        NoBatchNorm: if the teacher has no layer with remembered statistics.
    """
    gaps: list[Tensor] = []
    layers = [
        layer
        for layer in teacher.modules()
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None
    ]
    if not layers:
        raise NoBatchNorm
    handles = [layer.register_forward_hook(record_gap_into(gaps)) for layer in layers]
    try:
        yield gaps
    finally:
        for handle in handles:
            handle.remove()
