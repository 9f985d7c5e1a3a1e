"""Labelled images on the client's side: read from a file, checked, encoded for a request.

Dims: I images, H height, W width, C channels (1 or 3).
"""

import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.errors import DemoError

KEYS = ("images", "labels", "class_names")
FORM = (
    "It needs `images` (uint8, N x H x W x C with 1 or 3 channels), `labels` (integers, one per "
    "image) and `class_names` (one per label)."
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelledImages:
    """Images of classes that no classifier in the pool should have seen."""

    images: NDArray[np.uint8]
    """(I, H, W, C)."""
    labels: NDArray[np.int64]
    """(I,), positions in class_names."""
    class_names: tuple[str, ...]
    grouped: bool = False
    """Whether the file says that some images are near-duplicates of each other."""

    def of_classes(self, positions: tuple[int, ...]) -> "LabelledImages":
        """Only the images of some classes; labels keep their meaning."""
        kept = np.isin(self.labels, positions)
        return LabelledImages(
            images=self.images[kept],
            labels=self.labels[kept],
            class_names=self.class_names,
            grouped=self.grouped,
        )


def read_npz(path: Path) -> LabelledImages:
    """Labelled images from a NumPy archive without pickles.

    Raises:
        DemoError: if it is no such file; the message names what is missing or wrong.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                raise DemoError(f"{path} has no {', '.join(f'`{key}`' for key in missing)}. {FORM}")
            images, labels, names = (archive[key] for key in KEYS)
            grouped = "group" in archive
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DemoError(f"{path} cannot be read as an .npz file without pickles. {FORM}") from error
    wrong = _what_is_wrong(images, labels, names)
    if wrong:
        raise DemoError(f"{path}: {wrong}. {FORM}")
    return LabelledImages(
        images=images,
        labels=labels.astype(np.int64),
        class_names=tuple(str(name) for name in names),
        grouped=grouped,
    )


def _what_is_wrong(
    images: NDArray[np.generic], labels: NDArray[np.generic], names: NDArray[np.generic]
) -> str | None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
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


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """One image (H, W, C) as the bytes of a PNG file."""
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
