"""Labelled images from a file or a folder, as one tensor, for programs that measure.

Dims: I images, C channels (1 or 3), H height, W width.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
CHANNELS = (1, 3)
MODES = {1: "L", 3: "RGB"}
KEYS = ("images", "labels", "class_names")
FORM = (
    "It needs `images` (uint8, N x H x W x C with 1 or 3 channels), `labels` (integers, one per "
    "image) and `class_names` (one per label)."
)


class BenchmarkError(Exception):
    """A measurement cannot be made; the message says what to do."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelledImages:
    """Images and what they show."""

    images: Tensor
    """uint8, (I, C, H, W)."""
    labels: Tensor
    """int64, (I,), positions in class_names."""
    class_names: tuple[str, ...]

    def floats(self) -> Tensor:
        """The images as float32 in [0, 1], (I, C, H, W)."""
        return self.images.float() / 255

    def of_classes(self, positions: Sequence[int]) -> "LabelledImages":
        """Only the images of some classes, in their order here; labels keep their meaning."""
        kept = torch.isin(self.labels, torch.tensor(list(positions), dtype=torch.int64))
        return replace(self, images=self.images[kept], labels=self.labels[kept])


def joined(parts: Sequence[LabelledImages]) -> LabelledImages:
    """The images and classes of several sources as one; equal names stay different classes.

    Raises:
        BenchmarkError: if sizes or channels differ.
    """
    forms = {part.images.shape[1:] for part in parts}
    if len(forms) > 1:
        raise BenchmarkError(
            "Images of several sources must have one size and number of channels; here are "
            f"{', '.join('x'.join(map(str, form)) for form in sorted(forms))}. Set image_size."
        )
    starts = accumulate((len(part.class_names) for part in parts), initial=0)
    return LabelledImages(
        images=torch.cat([part.images for part in parts]),
        labels=torch.cat([part.labels + start for part, start in zip(parts, starts, strict=False)]),
        class_names=tuple(name for part in parts for name in part.class_names),
    )


def read_labelled(
    path: Path, *, image_size: int | None = None, channels: int | None = None
) -> LabelledImages:
    """Labelled images from an .npz file, or from a folder that has a folder of images per class.

    Images are squeezed into a square with an antialiasing filter, as `ml.images` does, so that no
    object is cropped away. Classes and files of a folder are taken in the order of their names.

    Args:
        path: of the file or the folder.
        image_size: side length in pixels to resize to; as they are when None.
        channels: 1 (luma) or 3 (RGB) to convert to; as they are when None (a folder: RGB).

    Raises:
        BenchmarkError: if the path is neither, or holds no such images.
    """
    if channels not in (None, *CHANNELS):
        raise BenchmarkError(f"Images have 1 or 3 channels, not {channels}.")
    if image_size is not None and image_size < 1:
        raise BenchmarkError(f"An image has at least 1 pixel a side, not {image_size}.")
    if path.is_dir():
        return _read_folder(path, image_size=image_size, channels=channels or 3)
    return _read_npz(path, image_size=image_size, channels=channels)


def _read_npz(path: Path, *, image_size: int | None, channels: int | None) -> LabelledImages:
    if not path.is_file():
        raise BenchmarkError(f"{path} does not exist: name an .npz file or a folder of classes.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                names = ", ".join(f"`{key}`" for key in missing)
                raise BenchmarkError(f"{path} has no {names}. {FORM}")
            images, labels, class_names = (archive[key] for key in KEYS)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise BenchmarkError(f"{path} is no readable .npz without pickles. {FORM}") from error
    wrong = _what_is_wrong(images, labels, class_names)
    if wrong:
        raise BenchmarkError(f"{path}: {wrong}. {FORM}")
    depth = channels or images.shape[3]
    height, width = (image_size or side for side in images.shape[1:3])
    if images.shape[1:] != (height, width, depth):
        images = np.stack(
            [_pixels(_as_image(image), image_size=image_size, channels=depth) for image in images]
        )
    return _labelled(images, labels, class_names)


def _what_is_wrong(
    images: NDArray[np.generic], labels: NDArray[np.generic], names: NDArray[np.generic]
) -> str | None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in CHANNELS:
        return f"`images` is {images.dtype} of shape {images.shape}"
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        return f"`labels` is {labels.dtype} of shape {labels.shape} for {len(images)} images"
    if len(labels) == 0:
        return "there are no images"
    if int(labels.min()) < 0 or int(labels.max()) >= len(names):
        return f"labels run from {labels.min()} to {labels.max()}, names from 0 to {len(names) - 1}"
    if len({str(name) for name in names}) != len(names):
        return "`class_names` repeat a name"
    return None


def _read_folder(path: Path, *, image_size: int | None, channels: int) -> LabelledImages:
    classes = sorted(each for each in path.iterdir() if each.is_dir())
    pixels: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, folder in enumerate(classes):
        files = sorted(each for each in folder.iterdir() if each.suffix.lower() in SUFFIXES)
        if not files:
            raise BenchmarkError(f"{folder} holds no image ({', '.join(SUFFIXES)}): remove it.")
        for file in files:
            pixels.append(_read_image(file, image_size=image_size, channels=channels))
            labels.append(label)
    if not pixels:
        raise BenchmarkError(f"{path} has no folder of images per class: make one for each class.")
    if len({each.shape for each in pixels}) > 1:
        raise BenchmarkError(f"The images in {path} differ in size: say an image size.")
    return _labelled(np.stack(pixels), np.array(labels), [each.name for each in classes])


def _read_image(path: Path, *, image_size: int | None, channels: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return _pixels(image, image_size=image_size, channels=channels)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise BenchmarkError(f"{path} is no readable image: replace or remove it.") from error


def _as_image(image: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _pixels(image: Image.Image, *, image_size: int | None, channels: int) -> NDArray[np.uint8]:
    """(H, W, C) of an image in any mode."""
    plain = image if image.mode == "L" else image.convert("RGB")
    if image_size is not None and plain.size != (image_size, image_size):
        plain = plain.resize((image_size, image_size), Image.Resampling.BILINEAR)
    values = np.array(plain.convert(MODES[channels]), dtype=np.uint8)
    return values.reshape(*values.shape[:2], channels)


def _labelled(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    class_names: Sequence[str] | NDArray[np.generic],
) -> LabelledImages:
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return LabelledImages(
        images=tensor,
        labels=torch.from_numpy(labels.astype(np.int64)),
        class_names=tuple(str(name) for name in class_names),
    )
