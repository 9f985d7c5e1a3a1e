"""The nouns every algorithm shares: a frozen teacher, an episode, progress, resumable state.

Dims: B images, S support images, Q query images, N ways, K classes, C channels, H height, W width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml.shapes import Float, Int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Teacher:
    """A pool model as a frozen module: eval mode, no gradients to its weights."""

    module: nn.Module
    """(B, channels, image_size, image_size), normalised -> (B, K) logits."""
    backbone: str
    class_names: tuple[str, ...]
    """One name per output, in the order of the outputs; unique within the teacher."""
    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def n_classes(self) -> int:
        """K, the number of outputs."""
        return len(self.class_names)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.module.parameters()).device

    def logits(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Answer images in [0, 1] of any size and of 1 or 3 channels; differentiable."""
        fitted = fit_images(images, size=self.image_size, channels=self.channels)
        logits: Tensor = self.module(normalize(fitted, self.mean, self.std))
        return logits


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Episode:
    """One few-shot classification task: a set to adapt on, a set to judge on."""

    support_images: Float[Tensor, "s c h w"]
    support_labels: Int[Tensor, " s"]
    query_images: Float[Tensor, "q c h w"]
    query_labels: Int[Tensor, " q"]
    n_way: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a meta-training run stands."""

    stage: str
    step: int
    total_steps: int
    fraction: float
    """Estimated share of the whole run's work that is done, 0 to 1, for the ETA."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Losses in nats, accuracies as fractions, gradient alignment as a cosine, counts."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingState:
    """All that a run needs to go on bit-identically; holds no image."""

    tensors: Mapping[str, Tensor]
    scalars: Mapping[str, int | float | str | list[int]]


Report = Callable[[Progress], None]
SaveState = Callable[[TrainingState], None]


def silent(_: Progress) -> None:
    """Report to nobody."""


def discard(_: TrainingState) -> None:
    """Keep no state."""


def normalize(
    images: Float[Tensor, "b c h w"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "b c h w"]:
    """(x - mean) / std per channel."""
    shift = torch.tensor(mean, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
    scale = torch.tensor(std, dtype=images.dtype, device=images.device).view(1, -1, 1, 1)
    return (images - shift) / scale


def fit_images(
    images: Float[Tensor, "b c h w"], *, size: int, channels: int
) -> Float[Tensor, "b c2 h2 w2"]:
    """Bring images to another side length (bilinear, antialiased) and number of channels (1 or 3).

    Deviation: the published code crops 32 pixels out of 84 for a smaller teacher, which shows it a
    seventh of the picture; resizing shows it the whole.
    """
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
    if images.shape[1] == channels:
        return images
    if channels == 1:
        return images.mean(dim=1, keepdim=True)
    return images.expand(-1, channels, -1, -1)
