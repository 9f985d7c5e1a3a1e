"""How far a batch's activations are from what a teacher's BatchNorm layers remember."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ml.errors import NoBatchNorm

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]


def record_gap_into(gaps: list[Tensor]) -> Hook:
    """A forward hook that appends one layer's gap, in the units of its activations."""

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        remembered_mean, remembered_variance = layer.running_mean, layer.running_var
        assert isinstance(remembered_mean, Tensor)
        assert isinstance(remembered_variance, Tensor)
        gaps.append(
            torch.linalg.vector_norm(mean - remembered_mean)
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
