"""The form every backbone has: an encoder from images to features and a linear classifier on them.

Dims: B images, C channels, H height, W width, D features, K classes.
"""

import math

import torch
from torch import Tensor, nn

from ml.shapes import Float


class Backbone(nn.Module):
    """An image classifier in two named parts, so that its features can be had without its head."""

    def __init__(self, encoder: nn.Module, *, feature_dim: int, n_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(feature_dim, n_classes)
        self.feature_dim = feature_dim

    def features(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """What the classifier sees of normalised images."""
        features: Tensor = self.encoder(images)
        return features

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Logits of normalised images."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


@torch.no_grad()
def initialize(module: nn.Module, rng: torch.Generator) -> None:
    """Re-initialise every weight of a module from rng, in place; equal rng, equal weights.

    Convolutions: normal with variance 2 / (k^2 * out_channels) and zero bias (He et al. 2015, fan
    out; the Conv4 of Chen et al. 2019 and torchvision's ResNets do the same). Linear layers:
    torch's default, uniform in +-1/sqrt(in_features), weight and bias. BatchNorm: the identity.

    Values are drawn on rng's device, so a seed gives one network whatever device holds it.

    Args:
        module: any network of convolutions, linear layers and batch normalisations.
        rng: the only source of randomness.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = part.out_channels * math.prod(part.kernel_size)
            drawn = torch.randn(part.weight.shape, generator=rng, device=rng.device)
            part.weight.copy_(drawn * math.sqrt(2.0 / fan_out))
            if part.bias is not None:
                part.bias.zero_()
        elif isinstance(part, nn.Linear):
            bound = 1.0 / math.sqrt(part.in_features)
            for weight in part.parameters(recurse=False):
                drawn = torch.rand(weight.shape, generator=rng, device=rng.device)
                weight.copy_((2.0 * drawn - 1.0) * bound)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.reset_parameters()
