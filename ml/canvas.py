"""The one image format in which a mixed pool's tasks meet: generator output, meta-learner input."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ml.shapes import Float
from ml.types import Teacher, normalize

NEUTRAL = 0.5  # mean and std where teachers disagree: [0, 1] becomes [-1, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Side length in pixels, channels, and the normalisation in front of the meta-learner."""

    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalize(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Images in [0, 1] as the meta-learner takes them."""
        return normalize(images, self.mean, self.std)


def choose_canvas(
    teachers: Sequence[Teacher], *, image_size: int | None, channels: int | None
) -> Canvas:
    """The pool's most common size (the larger of equals) and its largest number of channels.

    Args:
        teachers: at least one.
        image_size: overrides the choice.
        channels: overrides the choice, 1 or 3.

    Returns:
        A canvas with the teachers' own normalisation if all agree on it, else 0.5 and 0.5.
    """
    sizes = Counter(teacher.image_size for teacher in teachers)
    size = image_size or max(sizes, key=lambda side: (sizes[side], side))
    depth = channels or max(teacher.channels for teacher in teachers)
    used = {(teacher.mean, teacher.std) for teacher in teachers}
    mean, std = next(iter(used))
    if len(used) > 1 or len(mean) != depth:
        mean, std = (NEUTRAL,) * depth, (NEUTRAL,) * depth
    return Canvas(image_size=size, channels=depth, mean=mean, std=std)
