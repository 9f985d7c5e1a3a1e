"""Where images are compared: what a learner makes of its network's features.

Dims: B images, D features, H hidden units, P projected features.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.errors import CheckpointMismatch
from ml.shapes import Float

NAMES: Mapping[str, str] = {
    "weight": "projection",
    "offset": "projection_offset",
    "hidden": "projection_hidden",
    "hidden_offset": "projection_hidden_offset",
}
"""Field to name in a file: none that a tensor of a backbone has, since theirs have dots."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Projection:
    """z = W h + c with h = relu(V f + b), or h = f where there is no hidden layer.

    A network of few features has little room to place images as many teachers do; a layer behind it
    costs next to nothing (docs/algorithms/multi_teacher.md).
    """

    weight: Tensor
    """W, (P, H), or (P, D) where there is no V. Shapes are `check`'s to judge: a file may lie."""
    offset: Tensor | None = None
    """c, (P,); None is zero."""
    hidden: Tensor | None = None
    """V, (H, D)."""
    hidden_offset: Tensor | None = None
    """b, (H,), where there is a V."""

    def __call__(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b p"]:
        """Project features."""
        if self.hidden is not None:
            features = F.relu(F.linear(features, self.hidden, self.hidden_offset))
        return F.linear(features, self.weight, self.offset)

    def tensors(self) -> dict[str, Tensor]:
        """What there is of it, by the names of a file."""
        parts = {name: getattr(self, field) for field, name in NAMES.items()}
        return {name: tensor for name, tensor in parts.items() if tensor is not None}

    def to(self, device: torch.device) -> "Projection":
        """The same on a device."""
        return named({name: tensor.to(device) for name, tensor in self.tensors().items()})

    @property
    def nbytes(self) -> int:
        """What its tensors take."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def check(self, n_features: int) -> None:
        """Return if it takes so many features.

        Raises:
            CheckpointMismatch: it does not, or its parts do not fit together.
        """
        weight, offset = _shape(self.weight), _shape(self.offset)
        hidden, hidden_offset = _shape(self.hidden), _shape(self.hidden_offset)
        width = (n_features,) if hidden is None else hidden[:1]
        axes = (weight or ())[:1]
        fits = (
            weight == axes + width
            and len(axes + width) == 2
            and offset in (None, axes)
            and hidden in (None, (*width, n_features))
            and hidden_offset == (None if hidden is None else width)
        )
        if not fits:
            raise CheckpointMismatch("the meta-learner's projection does not fit its backbone")


def named(tensors: Mapping[str, Tensor]) -> Projection:
    """The projection whose parts have these names."""
    return Projection(**{field: tensors[name] for field, name in NAMES.items() if name in tensors})


def take_projection(tensors: dict[str, Tensor]) -> Projection | None:
    """The projection among a file's tensors, which are then without it; None if there is none."""
    parts = {name: tensors.pop(name) for name in NAMES.values() if name in tensors}
    return named(parts) if parts else None


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
