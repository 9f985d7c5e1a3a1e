"""Few-shot episodes as row numbers, so that the server and every baseline see the same ones.

Dims: E episodes, N ways, K shots and queries of a class, I images, C channels, S side length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from demo.errors import DemoError
from demo.images import LabelledImages, encode_png
from ml.episodes import draw_rows
from ml.images import decode_image


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Draw:
    """One episode: rows (N, K) of a set of images, the first n_shot columns as support."""

    rows: Tensor
    n_shot: int

    @property
    def support_rows(self) -> list[int]:
        """Class by class."""
        rows: list[int] = self.rows[:, : self.n_shot].flatten().tolist()
        return rows

    @property
    def query_rows(self) -> list[int]:
        """Class by class."""
        rows: list[int] = self.rows[:, self.n_shot :].flatten().tolist()
        return rows


def draw_episodes(
    labelled: LabelledImages,
    *,
    n_way: int,
    n_shot: int,
    n_query: int,
    episodes: int,
    rng: torch.Generator,
) -> list[Draw]:
    """Episodes of different classes and different images within each.

    Raises:
        DemoError: if the images do not suffice.
    """
    check_enough(labelled, n_way=n_way, per_class=n_shot + n_query)
    labels = torch.from_numpy(labelled.labels)
    classes = torch.unique(labels)
    rows_of = {int(label): torch.nonzero(labels == label).flatten() for label in classes}
    draws = []
    for _ in range(episodes):
        rows = []
        for chosen in draw_rows(len(classes), n_way, rng).tolist():
            own = rows_of[int(classes[chosen])]
            rows.append(own[draw_rows(len(own), n_shot + n_query, rng)])
        draws.append(Draw(rows=torch.stack(rows), n_shot=n_shot))
    return draws


def check_enough(labelled: LabelledImages, *, n_way: int, per_class: int) -> None:
    """Refuse images that cannot fill every episode.

    Raises:
        DemoError: naming the class, or the number of classes.
    """
    counts = torch.bincount(torch.from_numpy(labelled.labels)).tolist()
    present = [position for position, count in enumerate(counts) if count]
    if len(present) < n_way:
        raise DemoError(f"{n_way}-way episodes need {n_way} classes; there are {len(present)}.")
    for position in present:
        if counts[position] < per_class:
            raise DemoError(
                f"Class {labelled.class_names[position]!r} has {counts[position]} images; an "
                f"episode needs {per_class} of each class."
            )


class Slides:
    """Encoded images by row, as requests carry them; each is encoded once, in memory."""

    def __init__(self, labelled: LabelledImages) -> None:
        self.labelled = labelled
        self._encoded: dict[int, bytes] = {}

    def png(self, rows: Sequence[int]) -> list[bytes]:
        """The rows' images as PNG files."""
        for row in rows:
            if row not in self._encoded:
                self._encoded[row] = encode_png(self.labelled.images[row])
        return [self._encoded[row] for row in rows]

    def names(self, rows: Sequence[int]) -> list[str]:
        """The rows' class names."""
        return [self.labelled.class_names[self.labelled.labels[row]] for row in rows]

    def tensors(self, *, size: int, channels: int) -> Tensor:
        """(I, C, S, S) in [0, 1]: every image as the server decodes it; unused rows stay black."""
        images = torch.zeros(len(self.labelled.labels), channels, size, size)
        for row, data in self._encoded.items():
            images[row] = decode_image(data, size=size, channels=channels)
        return images
