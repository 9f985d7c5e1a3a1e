"""Stripes of different directions: classes that a small network learns in a second."""

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.backbones import build, initialize
from ml.types import Teacher

CPU = torch.device("cpu")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stripes(
    directions: Sequence[int], per_class: int, *, size: int, channels: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] of stripes at `direction` tenths of a half turn, random phase and noise."""
    labels = torch.arange(len(directions)).repeat_interleave(per_class)
    angles = torch.tensor([math.pi * d / 10 for d in directions])[labels].view(-1, 1, 1)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    phase = 2 * math.pi * torch.rand(len(labels), 1, 1, generator=rng)
    waves = torch.sin(phase + (x * torch.cos(angles) + y * torch.sin(angles)) * 24 / size)
    noise = 0.1 * torch.randn(len(labels), channels, size, size, generator=rng)
    return (0.5 + 0.4 * waves.unsqueeze(1) + noise).clamp(0, 1), labels


def toy_teacher(
    directions: Sequence[int],
    *,
    seed: int,
    backbone: str = "conv4",
    size: int = 16,
    channels: int = 1,
    steps: int = 30,
) -> Teacher:
    """A network trained to tell stripes of some directions apart."""
    rng = seeded(seed)
    module = build(backbone, n_classes=len(directions), channels=channels, image_size=size)
    initialize(module, rng)
    images, labels = stripes(directions, 24, size=size, channels=channels, rng=rng)
    adam = torch.optim.Adam(module.parameters(), lr=5e-3)
    for _ in range(steps):
        rows = torch.randperm(len(labels), generator=rng)[:32]
        adam.zero_grad()
        F.cross_entropy(module((images[rows] - 0.5) / 0.5), labels[rows]).backward()
        adam.step()
    return Teacher(
        module=module.eval().requires_grad_(False),
        backbone=backbone,
        class_names=tuple(f"direction {d}" for d in directions),
        image_size=size,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
    )


@cache
def toy_teachers() -> tuple[Teacher, ...]:
    """Four teachers of 16 pixels and one channel, of 3 classes out of ten."""
    chosen = ((0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8))
    return tuple(toy_teacher(directions, seed=i) for i, directions in enumerate(chosen))
