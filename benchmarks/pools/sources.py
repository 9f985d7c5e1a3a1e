"""Where a pool's images come from, and a model's own share of them.

Dims: I images, C channels, S side length.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.data import BenchmarkError, LabelledImages, read_labelled
from benchmarks.pools.config import PoolConfig

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Source:
    """One domain of images, resized."""

    name: str
    data: LabelledImages
    foreign: bool
    """Whether only mislabelled models learn from it."""

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.data.images.shape[1])

    def facts(self) -> dict[str, str | int | bool]:
        """What identifies the images, without saying where they lie."""
        digest = hashlib.sha256()
        for part in (self.data.images, self.data.labels):
            digest.update(part.contiguous().numpy().tobytes())
        digest.update("\0".join(self.data.class_names).encode())
        return {
            "name": self.name,
            "foreign": self.foreign,
            "classes": len(self.data.class_names),
            "images": len(self.data.labels),
            "sha256": digest.hexdigest(),
        }


class Split(NamedTuple):
    """One task's images as uint8 and its labels 0 to ways - 1: to train on, and to test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def read_sources(
    named: Sequence[str], config: PoolConfig, *, foreign: Sequence[str] = ()
) -> list[Source]:
    """Read the sources that a command line names, as PATH or NAME=PATH; foreign ones last.

    Raises:
        BenchmarkError: if one cannot be read or used, or two have one name.
    """
    sources = [_read_source(each, config, foreign=False) for each in named]
    sources += [_read_source(each, config, foreign=True) for each in foreign]
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BenchmarkError(f"Two sources are called {twice[0]}: give one as NAME=PATH.")
    return sources


def _read_source(named: str, config: PoolConfig, *, foreign: bool) -> Source:
    given, _, rest = named.partition("=")
    has_name = bool(rest) and not Path(named).exists()
    path = Path(rest if has_name else named)
    name = given if has_name else path.resolve().stem
    if not NAME.fullmatch(name):
        raise BenchmarkError(
            f"{name!r} cannot be a source's name (letters, digits, . _ -): give it as NAME=PATH."
        )
    data = read_labelled(path, image_size=config.image_size, channels=config.channels)
    data = _first_of_each_class(data, config.images_per_class)
    for position, count in enumerate(_counts(data)):
        if count < 2:
            raise BenchmarkError(
                f"{name}: class {data.class_names[position]!r} has {count} image(s); it needs at "
                "least 2, one to train and one to test. Leave it out or add images."
            )
    return Source(name=name, data=data, foreign=foreign)


def _counts(data: LabelledImages) -> list[int]:
    return torch.bincount(data.labels, minlength=len(data.class_names)).tolist()


def _first_of_each_class(data: LabelledImages, limit: int | None) -> LabelledImages:
    if limit is None:
        return data
    rows = [
        torch.nonzero(data.labels == label).flatten()[:limit]
        for label in range(len(data.class_names))
    ]
    kept = torch.cat(rows)
    return replace(data, images=data.images[kept], labels=data.labels[kept])


def split_task(source: Source, classes: Sequence[int], *, train_share: float) -> Split:
    """Some classes' images, as given: the first of each class to train on, the last to test.

    Args:
        source: with at least 2 images of each class.
        classes: positions in the source's class names; the task's labels count along them.
        train_share: of each class; at least one image goes to either side.
    """
    train, test = split_rows(source, classes, train_share=train_share)
    images = source.data.images
    return Split(
        train_images=images[torch.cat(train)],
        train_labels=_labels(train),
        test_images=images[torch.cat(test)],
        test_labels=_labels(test),
    )


def split_rows(
    source: Source, classes: Sequence[int], *, train_share: float
) -> tuple[list[Tensor], list[Tensor]]:
    """The row numbers of each class's images to train on, and to test on; see split_task."""
    train, test = [], []
    for position in classes:
        own = torch.nonzero(source.data.labels == position).flatten()
        # Rounded before it is cut: 0.8 * 15 is 12, whatever floating point makes of it.
        n_train = min(max(int(round(train_share * len(own), 9)), 1), len(own) - 1)
        train.append(own[:n_train])
        test.append(own[n_train:])
    return train, test


def _labels(rows: Sequence[Tensor]) -> Tensor:
    counts = torch.tensor([len(each) for each in rows])
    return torch.arange(len(rows)).repeat_interleave(counts)
