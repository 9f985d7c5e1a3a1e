"""State dicts seen as sequences of layers: which tensors belong together, in which order."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ml.backbones import build
from ml.checkpoints.contracts import Manifest

Shape = tuple[int, ...]

STEP_COUNT = "num_batches_tracked"
"""BatchNorm's step counter: of no effect in eval mode, and absent from many checkpoints."""
HARMLESS = frozenset({"total_ops", "total_params", "n_averaged"})
"""Counters that profilers and weight averaging leave in state dicts; no network reads them."""
MAX_FRONTS = 8
"""How deep a network may sit in others; each depth is tried, and a name may have thousands."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The tensors of one module, such as a convolution or a BatchNorm."""

    path: str
    """The module's dotted name; empty for tensors of the network itself."""
    shapes: Mapping[str, Shape]
    """Shape by leaf name (`weight`, `running_mean`, ...), without the step counter."""

    @property
    def is_linear(self) -> bool:
        """Whether this is a fully connected layer."""
        return len(self.shapes.get("weight", ())) == 2

    @property
    def is_convolution(self) -> bool:
        """Whether this is a two-dimensional convolution."""
        return len(self.shapes.get("weight", ())) == 4

    @property
    def is_batch_norm(self) -> bool:
        """Whether this layer keeps running statistics."""
        return "running_mean" in self.shapes

    def signature(self) -> tuple[tuple[str, Shape], ...]:
        """What must agree for two layers to be interchangeable."""
        return tuple(sorted(self.shapes.items()))


def split_name(name: str) -> tuple[str, str]:
    """A tensor's name as module path and leaf: `a.b.weight` -> (`a.b`, `weight`)."""
    path, _, leaf = name.rpartition(".")
    return path, leaf


def join_name(path: str, leaf: str) -> str:
    """The inverse of split_name."""
    return f"{path}.{leaf}" if path else leaf


def layers_of(tensors: Mapping[str, Tensor], order: Iterable[str]) -> list[Layer]:
    """Group tensors by module, in the order in which the modules first appear."""
    grouped: dict[str, dict[str, Shape]] = {}
    for name in order:
        path, leaf = split_name(name)
        if leaf not in HARMLESS:
            shapes = grouped.setdefault(path, {})
            if leaf != STEP_COUNT:
                shapes[leaf] = tuple(tensors[name].shape)
    return [Layer(path, shapes) for path, shapes in grouped.items() if shapes]


def expected_layers(manifest: Manifest) -> list[Layer]:
    """The layers of the backbone a manifest declares, in the order of its forward pass.

    Raises:
        UnknownBackbone, InvalidConfig: if there is no such backbone.
    """
    with torch.device("meta"):
        backbone = build(
            manifest.backbone,
            n_classes=len(manifest.class_names),
            channels=manifest.channels,
            image_size=manifest.image_size,
        )
    tensors = backbone.state_dict()
    return layers_of(tensors, tensors)


def name_parts(name: str) -> list[str]:
    """Text and numbers in turn, text first: `f.10.weight` -> [`f.`, `10`, `.weight`]."""
    return re.split(r"([0-9]{1,9})", name)  # bounded: int() refuses numbers of thousands of digits


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort names with their numbers as numbers: `f.4` before `f.10`."""

    def key(name: str) -> list[str | int]:
        return [int(part) if place % 2 else part for place, part in enumerate(name_parts(name))]

    return sorted(names, key=key)


def shared_fronts(paths: Sequence[str]) -> list[str]:
    """Leading components that all paths share, each with its dot, the longest first, then none."""
    fronts = [""]
    if paths:
        first, last = (path.split(".")[:-1] for path in (min(paths), max(paths)))
        for one, other in zip(first[:MAX_FRONTS], last, strict=False):
            if one != other:
                break
            fronts.append(f"{fronts[-1]}{one}.")
    return fronts[::-1]
