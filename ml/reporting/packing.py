"""A validation set as one string of bytes: small pictures and class numbers, nothing else of it.

Dims: I images, C channels, S side length in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Validation:
    """Somebody's labelled images."""

    images: Tensor
    """In [0, 1], (I, C, S, S)."""
    labels: Tensor
    """int64, (I,)."""


def pack(images: Sequence[Tensor], labels: Sequence[str]) -> bytes:
    """Pictures of 8 bits and numbers in place of labels.

    Args:
        images: in [0, 1], (C, S, S) each.
        labels: one per image.
    """
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    pictures = torch.stack([(image * 255).round().to(torch.uint8) for image in images])
    return save({"images": pictures, "labels": torch.tensor([numbers[label] for label in labels])})


def unpack(packed: bytes) -> Validation:
    """What pack made."""
    tensors = load(packed)
    return Validation(images=tensors["images"].float() / 255, labels=tensors["labels"])
