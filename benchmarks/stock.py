"""What the recipes of one call share, each read or computed once: images, pools, features."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.data import BenchmarkError, joined, read_labelled
from benchmarks.pool import Pool, find_pool, read_pool
from benchmarks.recipe import Recipe
from ml.answers import features_of
from ml.types import Teacher


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Split:
    """The labelled images of one split; known by identity, so that features can be kept for it."""

    name: str
    images: Tensor
    """float32 in [0, 1], (I, C, H, W), on the CPU."""
    labels: Tensor
    """int64, (I,)."""
    sha256: str
    """Of images and labels as read: equal data, equal numbers."""


class Stock:
    """Images, pools and features for recipes, from two directories."""

    def __init__(self, data: Path | None, pools: Path | None, device: torch.device) -> None:
        """Remember where to look; nothing is read yet.

        Args:
            data: directory of image files; None if there is none.
            pools: a pool's directory, or one that holds several; None if there is none.
            device: where networks compute.
        """
        self._data, self._pools, self.device = data, pools, device
        self._splits: dict[tuple[tuple[str, ...], str, int], Split] = {}
        self._read: dict[str, Pool] = {}
        self._features: dict[tuple[Teacher, Split], Tensor] = {}

    def split(self, recipe: Recipe, name: str) -> Split:
        """The recipe's images of a split.

        Raises:
            BenchmarkError: if there is no data directory or no such file in it.
        """
        if self._data is None:
            raise BenchmarkError(
                f"Recipe {recipe.name} needs images: give their directory as --data or in "
                "MODELPOOL_DATA."
            )
        key = (recipe.files_of(name), name, recipe.image_size)
        if key not in self._splits:
            size = recipe.image_size or None
            files = [self._data / file for file in recipe.files_of(name)]
            labelled = joined([read_labelled(file, image_size=size) for file in files])
            digest = hashlib.sha256(labelled.images.numpy().tobytes())
            digest.update(labelled.labels.numpy().tobytes())
            self._splits[key] = Split(
                name=name,
                images=labelled.floats(),
                labels=labelled.labels,
                sha256=digest.hexdigest(),
            )
        return self._splits[key]

    def pool(self, recipe: Recipe) -> Pool:
        """The recipe's pool.

        Raises:
            BenchmarkError: if the recipe names none, or it cannot be found or read.
        """
        if not recipe.pool:
            raise BenchmarkError(f"Recipe {recipe.name}: its subject needs a `pool`.")
        if self._pools is None:
            raise BenchmarkError(
                f"Recipe {recipe.name} needs the pool {recipe.pool}: give its directory as --pool "
                "or in MODELPOOL_POOL."
            )
        if recipe.pool not in self._read:
            directory = find_pool(self._pools, recipe.pool)
            self._read[recipe.pool] = read_pool(directory, recipe.pool, self.device)
        return self._read[recipe.pool]

    def features(self, teacher: Teacher, split: Split) -> Tensor:
        """unit_features of a whole split, (I, D) on the CPU; kept for the next recipe."""
        key = (teacher, split)
        if key not in self._features:
            self._features[key] = unit_features(teacher, split.images)
        return self._features[key]


def unit_features(teacher: Teacher, images: Tensor) -> Tensor:
    """(I, C, H, W) in [0, 1] -> (I, D) of length 1, on the CPU; BatchNorm as trained."""
    return F.normalize(features_of(teacher, images, precision="float32"), dim=1).cpu()
