"""The digits demo's world: who has which classes, and which nobody has.

Dims: I images, S side length.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from demo.images import LabelledImages

SIDE = 16
"""Pixels; the originals have 8, and Conv4 halves four times."""
INK = 16  # the originals' darkest value
CLASS_NAMES = tuple(f"digit {digit}" for digit in range(10))
POOLED_CLASSES = tuple(range(7))
"""Digits that clients train on."""
UNSEEN_CLASSES = (7, 8, 9)
"""Digits that only few-shot requests show."""
N_CLIENTS = 12
FEWEST_CLASSES, MOST_CLASSES = 3, 5
SPLIT_SEED = 7


def client_name(number: int) -> str:
    """What a client calls its model; numbers start at 1."""
    return f"digits-client-{number:02d}"


def client_classes(number: int) -> tuple[int, ...]:
    """The digits one client has, in ascending order; always the same for the same number."""
    rng = np.random.default_rng([SPLIT_SEED, number])
    n_classes = int(rng.integers(FEWEST_CLASSES, MOST_CLASSES + 1))
    drawn = rng.choice(POOLED_CLASSES, size=n_classes, replace=False)
    return tuple(sorted(int(digit) for digit in drawn))


def load_digits() -> LabelledImages:
    """scikit-learn's handwritten digits, enlarged to 16 x 16 grey pixels.

    The file in scikit-learn's package is read directly: importing scikit-learn would cost each of
    the clients more time than its training.
    """
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    small = torch.from_numpy(table[:, :-1]).float().reshape(-1, 1, 8, 8) / INK
    large = F.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    images = (large * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return LabelledImages(
        images=images, labels=table[:, -1].astype(np.int64), class_names=CLASS_NAMES
    )
