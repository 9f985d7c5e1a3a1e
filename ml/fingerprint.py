"""How alike the tasks of teachers are, told from the teachers alone, and a map of it.

A teacher arranges pictures by what it was trained to tell apart: two that learnt alike tasks find
the same pictures alike. The pictures are drawn by chance, so nobody's data are needed.

Dims: T teachers, B pictures, F numbers of a fingerprint.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.answers import answers_of
from ml.drawing import draw_images
from ml.shapes import Float
from ml.types import Teacher

VERSION = 1
"""Of how fingerprints are made: those of different versions cannot be compared."""
PICTURES, SIDE, CHANNELS, SEED = 96, 32, 3, 0
TEMPERATURE = 1.0
LENGTH = 256


@torch.no_grad()
def fingerprint(teacher: Teacher) -> Float[Tensor, "256"]:
    """How a teacher arranges the pictures, on the CPU; zeros where it tells none of them apart.

    The distances between its answers to any two pictures (representational dissimilarities,
    Kriegeskorte et al. 2008; Hellinger's distance), standardised, on LENGTH random directions,
    which keep inner products to about 1 / 16 of the lengths.
    """
    pictures = draw_images(
        PICTURES, image_size=SIDE, channels=CHANNELS, rng=torch.Generator().manual_seed(SEED)
    )
    answers = answers_of(teacher, pictures, temperature=TEMPERATURE, precision="float32").cpu()
    distances = torch.pdist(answers.double().nan_to_num(0.0))
    spread = distances.std()
    if float(spread) == 0:
        return torch.zeros(LENGTH)
    standard = (distances - distances.mean()) / spread
    directions = torch.randn(
        len(standard), LENGTH, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64
    )
    return F.normalize(standard @ directions, dim=0).float()


def lay_out(
    fingerprints: Float[Tensor, "t 256"],
) -> tuple[Float[Tensor, "t 2"], float]:
    """Places of teachers in two dimensions, alike ones near one another.

    The first two principal axes of the directions from the mean fingerprint. Deterministic; an
    axis points to where its largest value is.

    Returns:
        Places in [-1, 1], and the share of all variance that the two axes hold.
    """
    if len(fingerprints) < 3:  # one axis holds all there is
        beside = torch.tensor([[-0.5, 0.0], [0.5, 0.0]])
        return (beside if len(fingerprints) == 2 else torch.zeros(len(fingerprints), 2)), 1.0
    centred = (fingerprints - fingerprints.mean(dim=0)).double()
    unit = F.normalize(centred, dim=1)
    left, lengths, _ = torch.linalg.svd(unit, full_matrices=False)
    places = left[:, :2] * lengths[:2]
    signs = places.gather(0, places.abs().argmax(dim=0, keepdim=True)).sign()
    places = places * torch.where(signs == 0, 1.0, signs)
    kept = float(lengths[:2].square().sum() / lengths.square().sum().clamp_min(1e-12))
    return (places / places.abs().max().clamp_min(1e-12)).float(), kept
