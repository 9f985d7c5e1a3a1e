"""N-way K-shot episodes from labelled images.

Dims: I images, S support images, Q query images, N ways, C channels, H height, W width.
"""

import torch
from torch import Tensor

from ml.errors import TooFewImages
from ml.shapes import Float, Int
from ml.types import Episode


def draw_rows(n_rows: int, n_drawn: int, rng: torch.Generator) -> Int[Tensor, " n"]:
    """Different row numbers below n_rows, in random order."""
    return torch.randperm(n_rows, generator=rng, device=rng.device)[:n_drawn]


def episode_of(
    images: Float[Tensor, "i c h w"], rows: Int[Tensor, "n k"], *, n_shot: int
) -> Episode:
    """The episode whose class n consists of the images at rows[n], the first n_shot as support."""
    n_way, per_class = rows.shape
    labels = torch.arange(n_way, device=images.device)
    place = rows.to(images.device)
    return Episode(
        support_images=images[place[:, :n_shot].flatten()],
        support_labels=labels.repeat_interleave(n_shot),
        query_images=images[place[:, n_shot:].flatten()],
        query_labels=labels.repeat_interleave(per_class - n_shot),
        n_way=n_way,
    )


def sample_episode(
    images: Float[Tensor, "i c h w"],
    labels: Int[Tensor, " i"],
    *,
    n_way: int,
    n_shot: int,
    n_query: int,
    rng: torch.Generator,
) -> Episode:
    """Draw classes, then different support and query images of each.

    Args:
        images: in [0, 1].
        labels: any integers.
        n_way: N, classes in the episode.
        n_shot: support images per class.
        n_query: query images per class.
        rng: the only source of randomness.

    Raises:
        TooFewImages: if there are too few classes, or a drawn class has too few images.
    """
    present = torch.unique(labels)
    if len(present) < n_way:
        raise TooFewImages(f"a {n_way}-way episode needs {n_way} classes, there are {len(present)}")
    rows = []
    for chosen in draw_rows(len(present), n_way, rng).tolist():
        own = torch.nonzero(labels == present[chosen]).flatten()
        if len(own) < n_shot + n_query:
            raise TooFewImages(
                f"class {int(present[chosen])} has {len(own)} images, "
                f"an episode needs {n_shot} + {n_query}"
            )
        rows.append(own.cpu()[draw_rows(len(own), n_shot + n_query, rng).cpu()])
    return episode_of(images, torch.stack(rows), n_shot=n_shot)
