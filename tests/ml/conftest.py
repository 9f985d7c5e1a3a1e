"""What tests of the algorithms share: randomness, randomised networks, the real pool."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ml.backbones import initialize


@pytest.fixture
def rng() -> torch.Generator:
    """A fresh source of randomness with a fixed seed."""
    return torch.Generator().manual_seed(20)


@pytest.fixture
def randomize(rng: torch.Generator) -> Callable[[nn.Module], nn.Module]:
    """Give a network weights, biases and BatchNorm statistics that are all different; eval mode.

    Fresh BatchNorms are all alike, which would hide a swap of two of them.
    """

    @torch.no_grad()
    def randomized(module: nn.Module) -> nn.Module:
        initialize(module, rng)
        for part in module.modules():
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                part.bias.normal_(0.0, 0.1, generator=rng)
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5, generator=rng)
                part.bias.normal_(0.0, 0.1, generator=rng)
                part.running_mean.normal_(0.0, 0.1, generator=rng)
                part.running_var.uniform_(0.01, 1.0, generator=rng)
        return module.eval()

    return randomized


@pytest.fixture(scope="session")
def shared_directory() -> Path:
    """The directory of real checkpoints and images, where this machine has one."""
    default = Path(__file__).parents[3] / "shared"
    directory = Path(os.environ.get("MODELPOOL_SHARED", default))
    if not directory.is_dir():
        pytest.skip("no shared directory of real checkpoints here")
    return directory
