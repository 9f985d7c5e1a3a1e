"""Networks of one shape, stacked along a first dimension and computed in one pass (torch.func).

Dims: N models, B batch, C channels, S side length, K classes.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ml.backbones import Backbone

NORM_SLACK = 1e-6  # as torch.nn.utils.clip_grad_norm_: no division by zero


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Stack:
    """N networks of one shape: what is computed, and with which weights."""

    skeleton: nn.Module
    """Has no weights of its own (meta device)."""
    parameters: Mapping[str, Tensor]
    """(N, ...) each; leaves that require gradients."""
    buffers: Mapping[str, Tensor]
    """(N, ...) each; BatchNorm's statistics, updated in place."""

    def logits(self, images: Tensor) -> Tensor:
        """(N, B, C, S, S) -> (N, B, K); every model answers its own images, in training mode."""
        if len(images) == 1:  # without the map, which costs time where there is nothing to map
            parameters, buffers = (
                {name: tensor[0] for name, tensor in part.items()}
                for part in (self.parameters, self.buffers)
            )
            return self._answer(parameters, buffers, images[0]).unsqueeze(0)
        mapped: Tensor = vmap(self._answer)(dict(self.parameters), dict(self.buffers), images)
        return mapped

    def _answer(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor
    ) -> Tensor:
        logits: Tensor = functional_call(self.skeleton, (parameters, buffers), (images,))
        return logits

    def state_dict(self, position: int) -> dict[str, Tensor]:
        """One model's tensors, copied to the CPU, by the backbone's names."""
        return {
            name: tensor[position].detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in {**self.parameters, **self.buffers}.items()
        }


def stack(modules: Sequence[Backbone], device: torch.device) -> Stack:
    """Stack networks of one shape on a device; the networks stay as they are."""
    parameters, buffers = stack_module_state(list(modules))
    return Stack(
        skeleton=copy.deepcopy(modules[0]).to("meta").train(),
        parameters={
            name: tensor.detach().to(device).requires_grad_() for name, tensor in parameters.items()
        },
        buffers={name: tensor.to(device) for name, tensor in buffers.items()},
    )


def clip(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """Each model's gradient, over all its weights, scaled down to max_norm at most.

    Args:
        gradients: (N, ...) each.
        max_norm: Euclidean length, > 0.
    """
    norms = [torch.linalg.vector_norm(each.flatten(1), dim=1) for each in gradients]
    lengths = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    scales = (max_norm / (lengths + NORM_SLACK)).clamp(max=1.0)
    return [each * scales.view(-1, *(1,) * (each.dim() - 1)) for each in gradients]
