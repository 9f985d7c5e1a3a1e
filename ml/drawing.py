"""Pictures drawn by chance: textured, shaded shapes that cover one another.

They cost no data and show nothing that anybody photographed, yet have what a network of natural
images has learnt to see: edges, corners, gratings, gradients, occlusion, several scales (the "dead
leaves" of Lee, Mumford and Huang 2001; Baradad et al. 2021 train representations on such noise).

Dims: B images, C channels, S side length in pixels.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.shapes import Float

SHAPES = 10  # at most, in a picture
BRIGHTNESS, CONTRAST, COLOUR = 0.18, 0.22, 0.12  # deviations, in units of the full range
TEXTURE, SHADING, GRAIN = 0.12, 0.15, 0.02  # amplitudes, likewise
LONGEST, SHORTEST = 2.0, 0.2  # wavelengths of gratings, in half sides


def draw_images(
    count: int, *, image_size: int, channels: int, rng: torch.Generator
) -> Float[Tensor, "b c s s"]:
    """So many pictures in [0, 1], on rng's device.

    Args:
        count: B.
        image_size: S in pixels.
        channels: 1 or 3.
        rng: the only source of randomness.
    """
    dice = _Dice(count, image_size, channels, rng)
    colours = dice.palette(SHAPES + 2)
    along, _ = dice.rotated(*dice.grid())
    slope = along * dice.uniform(0.0, 1.0)
    images = colours[:, 0] + (colours[:, 1] - colours[:, 0]) * slope + dice.textured()
    density = dice.uniform(0.2, 1.0)  # from pictures of few shapes to crowded ones
    for place in range(SHAPES):
        mask, along = dice.shape()
        fill = colours[:, place + 2] + dice.textured() + SHADING * dice.normal() * along
        there = (dice.uniform(0.0, 1.0) < density).to(mask.dtype)
        images = torch.lerp(images, fill, mask * there)
    grain = torch.randn(images.shape, generator=rng, device=rng.device)
    return (images + GRAIN * dice.uniform(0.0, 1.0) * grain).clamp(0.0, 1.0)


class _Dice:
    """What chance decides about a batch of pictures; numbers per picture are (B, 1, 1, 1)."""

    def __init__(self, count: int, image_size: int, channels: int, rng: torch.Generator) -> None:
        self.count, self.size, self.channels, self.rng = count, image_size, channels, rng

    def normal(self, *sizes: int) -> Tensor:
        shape = (self.count, *(sizes or (1, 1, 1)))
        return torch.randn(shape, generator=self.rng, device=self.rng.device)

    def uniform(self, low: float, high: float) -> Tensor:
        drawn = torch.rand((self.count, 1, 1, 1), generator=self.rng, device=self.rng.device)
        return low + (high - low) * drawn

    def log_uniform(self, low: float, high: float) -> Tensor:
        return self.uniform(math.log(low), math.log(high)).exp()

    def choice(self, choices: int) -> Tensor:
        shape = (self.count, 1, 1, 1)
        return torch.randint(choices, shape, generator=self.rng, device=self.rng.device)

    def grid(self) -> tuple[Tensor, Tensor]:
        """Coordinates from -1 to 1, (1, 1, 1, S) and (1, 1, S, 1)."""
        line = (torch.arange(self.size, device=self.rng.device) + 0.5) / self.size * 2.0 - 1.0
        return line.view(1, 1, 1, -1), line.view(1, 1, -1, 1)

    def rotated(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The coordinates in a frame of each picture's own direction, (B, 1, S, S) each."""
        angle = self.uniform(0.0, 2.0 * math.pi)
        cos, sin = torch.cos(angle), torch.sin(angle)
        return cos * x + sin * y, cos * y - sin * x

    def palette(self, colours: int) -> Tensor:
        """Colours that go together: a picture's own tint, and mostly brightness between them.

        (B, colours, C, 1, 1); in natural pictures brightness varies more than hue, too.
        """
        own = 0.5 + BRIGHTNESS * self.normal(1, 1) + 0.6 * COLOUR * self.normal(1, self.channels)
        contrast = CONTRAST * (0.4 * self.normal(1, 1)).exp()
        between = contrast * self.normal(colours, 1) + COLOUR * self.normal(colours, self.channels)
        return (own + between).unsqueeze(-1).unsqueeze(-1)

    def textured(self) -> Tensor:
        """A grating, a chequerboard, smooth noise or a gradient, of mean zero, (B, C, S, S)."""
        x, y = self.rotated(*self.grid())
        rate = 2.0 * math.pi / self.log_uniform(SHORTEST, LONGEST)
        phase = self.uniform(0.0, 2.0 * math.pi)
        grating = torch.sin(rate * x + phase)
        chequered = grating * torch.sin(rate * y + 1.7 * phase)
        cells = 4 * 2 ** int(torch.randint(4, (), generator=self.rng, device=self.rng.device))
        coarse = self.normal(1, cells, cells)
        noise = F.interpolate(coarse, size=(self.size, self.size), mode="bilinear")
        kind = self.choice(4)
        pattern = torch.where(kind == 0, grating, torch.where(kind == 1, chequered, noise))
        pattern = torch.where(kind == 3, x, pattern)
        tinted = 1.0 + 0.3 * self.normal(self.channels, 1, 1)
        return 2.0 * TEXTURE * self.uniform(0.0, 1.0) * pattern * tinted

    def shape(self) -> tuple[Tensor, Tensor]:
        """An ellipse, a box or a lobed disc: its soft mask, and a coordinate for its shading."""
        x, y = self.grid()
        radius, stretch = self.log_uniform(0.08, 0.9), (0.5 * self.normal()).exp()
        x, y = x - self.uniform(-1.1, 1.1), y - self.uniform(-1.1, 1.1)
        along, across = self.rotated(x, y)
        along, across = along / (radius * stretch), across * stretch / radius
        disc = torch.hypot(along, across)
        lobes = torch.sin((self.choice(5) + 2) * torch.atan2(across, along) + 3.0 * self.normal())
        lobed = disc / (1.0 + self.uniform(0.0, 0.35) * lobes)
        box = torch.maximum(along.abs(), across.abs())
        kind = self.choice(3)
        edge = torch.where(kind == 0, disc, torch.where(kind == 1, box, lobed))
        sharpness = self.log_uniform(0.25, 2.0) * radius * self.size  # some edges are blurred
        return torch.sigmoid((1.0 - edge) * sharpness), (along + across).clamp(-1.5, 1.5)
