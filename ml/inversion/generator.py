"""The image generator that FREE shares with its ancestors (FastDFKD, CMI), functional and seedable.

Dims: B images, Z latent, C channels, S side length in pixels.
"""

import math

import torch
from torch import Tensor, nn

from ml.functional import batch_normalised
from ml.shapes import Float

LEAKY_SLOPE = 0.2
UPSAMPLINGS = 2


class Generator(nn.Module):
    """Latent vectors to images in [0, 1].

    z -> Linear -> 2w maps of a quarter of the side -> BN -> [up, conv, BN, LeakyReLU] twice ->
    conv -> sigmoid, with w the width. Sides that 4 does not divide are generated larger and cut.
    BatchNorm always uses the batch it sees.
    """

    def __init__(self, *, latent_dim: int, width: int, image_size: int, channels: int) -> None:
        super().__init__()
        self.image_size, self.channels = image_size, channels
        self.start_size = math.ceil(image_size / 2**UPSAMPLINGS)
        self.start_width = 2 * width
        self.expand = nn.Linear(latent_dim, self.start_width * self.start_size**2)
        self.paint = nn.Sequential(
            nn.BatchNorm2d(self.start_width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(self.start_width, self.start_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(self.start_width),
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(self.start_width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(
        self, latent: Float[Tensor, "b z"], *, channels_last: bool = True
    ) -> Float[Tensor, "b c s s"]:
        """Paint one image per latent vector.

        Args:
            latent: z.
            channels_last: the memory format of all that follows: on a CPU a fifth faster. vmap
                knows no memory format.
        """
        start = self.expand(latent).unflatten(
            1, (self.start_width, self.start_size, self.start_size)
        )
        if channels_last:
            start = start.contiguous(memory_format=torch.channels_last)
        painted: Tensor = self.paint(start)
        return painted[..., : self.image_size, : self.image_size]


@torch.no_grad()
def new_generator(
    *, latent_dim: int, width: int, image_size: int, channels: int, rng: torch.Generator
) -> Generator:
    """A generator whose weights are uniform in +-1/sqrt(fan_in), as in the published code.

    Args:
        latent_dim: Z, numbers per latent vector.
        width: feature maps before the last convolution; twice as many at the start.
        image_size: S, pixels.
        channels: C, 1 or 3.
        rng: the only source of randomness.
    """
    with torch.device("meta"):
        generator = Generator(
            latent_dim=latent_dim, width=width, image_size=image_size, channels=channels
        )
    generator.to_empty(device="cpu")
    for part in generator.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            bound = 1.0 / math.sqrt(part.weight[0].numel())
            for weight in part.parameters(recurse=False):
                drawn = torch.rand(weight.shape, generator=rng, device=rng.device)
                weight.copy_((2.0 * drawn - 1.0) * bound)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
    batch_normalised(generator)
    return generator
