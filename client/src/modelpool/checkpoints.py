"""What a checkpoint's file says of itself: read from a safetensors header, without torch."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpool.errors import UnusableFile

SUFFIXES = (".safetensors", ".pt", ".pth")
LENGTH_BYTES = 8
MOST_HEADER_BYTES = 16 * 1024 * 1024

Shape = tuple[int, ...]

FINGERPRINTS: dict[tuple[int, int, int], str] = {
    (4, 32, 3): "conv4",
    (4, 64, 3): "conv4_64",
    (12, 512, 3): "resnet10",
    (16, 640, 3): "resnet12",
    (20, 512, 3): "resnet18",
    (20, 512, 7): "torchvision_resnet18",
    (36, 512, 7): "torchvision_resnet34",
    (53, 2048, 7): "torchvision_resnet50",
    (52, 576, 3): "mobilenet_v3_small",
}
"""Number of convolutions, most output channels, side of the first kernel -> backbone."""
BACKBONES = tuple(FINGERPRINTS.values())
"""Those of this release's servers; a newer server may know others."""


@dataclass(frozen=True)
class Facts:
    """What the shapes of the tensors tell; None where they do not."""

    n_tensors: int
    n_parameters: int
    n_classes: int | None
    channels: int | None
    backbone: str | None


def read_facts(path: Path) -> Facts | None:
    """What a safetensors file says; None of any other.

    Raises:
        UnusableFile: it calls itself safetensors and is not, or is empty.
    """
    if path.suffix != ".safetensors":
        return None
    shapes = _read_shapes(path)
    return facts_of(shapes)


def facts_of(shapes: dict[str, Shape]) -> Facts:
    """What the shapes of a state dict's tensors tell."""
    convolutions = [shape for shape in shapes.values() if len(shape) == 4]
    channels = _channels(convolutions)
    stems = [shape for shape in convolutions if shape[1] == channels]
    # Beside the stem: a shortcut of side 1, or depthwise ones, whose sides are no smaller.
    kernel = min((shape[-1] for shape in stems if shape[-1] > 1), default=0)
    key = len(convolutions), max((shape[0] for shape in convolutions), default=0), kernel
    return Facts(
        n_tensors=len(shapes),
        n_parameters=sum(math.prod(shape) for shape in shapes.values()),
        n_classes=_n_classes(shapes),
        channels=channels,
        backbone=FINGERPRINTS.get(key),
    )


def _channels(convolutions: Sequence[Shape]) -> int | None:
    """Depthwise convolutions look grey, too; where any is for colours, the first one is."""
    inputs = {shape[1] for shape in convolutions}
    return next((channels for channels in (3, 1) if channels in inputs), None)


def _n_classes(shapes: dict[str, Shape]) -> int | None:
    """Outputs of the one linear layer whose outputs no other one takes in."""
    linear = [shape for name, shape in shapes.items() if len(shape) == 2 and "weight" in name]
    taken = {shape[1] for shape in linear}
    heads = [shape for shape in linear if shape[0] not in taken]
    return heads[0][0] if len(heads) == 1 else None


def _read_shapes(path: Path) -> dict[str, Shape]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if not 0 < length <= MOST_HEADER_BYTES:
                raise ValueError(length)
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {name: tuple(int(n) for n in each["shape"]) for name, each in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableFile(
            f"{path.name} is no readable safetensors file. Save it again: "
            "safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
        ) from error
