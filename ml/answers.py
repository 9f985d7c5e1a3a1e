"""What several teachers answer, as one vector per image: the pool's ensemble as an embedding.

Dims: B images, K classes of a teacher, A answers of all teachers, D features,
P principal axes.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml.inversion.precision import Precision, computing_in
from ml.progress import fastest
from ml.shapes import Float
from ml.types import Teacher, fit_images, normalize

CHUNK = 256  # images per forward pass: more fall out of a processor's cache
MOST_CLASSES = 32  # of one teacher: more are thinned out, so that no teacher outweighs memory
SPARE_AXES = 64  # beyond those asked for: the last of a subspace are found badly
ITERATIONS = 4  # of the subspace; 128 axes of 2,600 numbers: variances to 0.2 %, angles to 0.003
EXACT_SHARE = 4  # fewer numbers than so many times the subspace are decomposed exactly


def hellinger(logits: Float[Tensor, "b k"], temperature: float) -> Float[Tensor, "b k"]:
    """sqrt(softmax(logits / T)), of length 1.

    The inner product of two is the Bhattacharyya coefficient of the two answers, so Euclidean
    distance here is the Hellinger distance there: unlike that of logits it does not care how sure a
    teacher is of what it does not know.
    """
    return (logits / temperature).softmax(dim=1).sqrt()


def answer_width(teacher: Teacher) -> int:
    """How many numbers answers_of gives for an image."""
    return len(range(0, teacher.n_classes, _stride(teacher)))


def _stride(teacher: Teacher) -> int:
    return -(-teacher.n_classes // MOST_CLASSES)


def feature_width(teacher: Teacher) -> int:
    """How many numbers features_of gives for an image."""
    return _head(teacher).in_features


@torch.no_grad()
def features_of(
    teacher: Teacher, images: Float[Tensor, "b c h w"], *, precision: Precision
) -> Float[Tensor, "b d"]:
    """What a teacher's classifier sees of images in [0, 1], computed where the teacher lies."""
    classifier, encoder = _head(teacher), teacher.module.get_submodule("encoder")
    parts = []
    for chunk in torch.split(images, CHUNK):
        fitted = fit_images(
            chunk.to(classifier.weight.device),
            size=teacher.image_size,
            channels=teacher.channels,
        )
        with computing_in(precision, classifier.weight.device):
            parts.append(encoder(normalize(fitted, teacher.mean, teacher.std)).float())
    return torch.cat(parts)


@torch.no_grad()
def answers_from(
    teacher: Teacher, features: Float[Tensor, "b d"], *, temperature: float
) -> Float[Tensor, "b k"]:
    """The Hellinger vectors that belong to features_of.

    Of more than MOST_CLASSES classes, evenly spaced ones are taken.
    """
    return hellinger(_head(teacher)(features)[:, :: _stride(teacher)], temperature)


def answers_of(
    teacher: Teacher, images: Float[Tensor, "b c h w"], *, temperature: float, precision: Precision
) -> Float[Tensor, "b k"]:
    """A teacher's Hellinger vectors for images in [0, 1]."""
    features = features_of(teacher, images, precision=precision)
    return answers_from(teacher, features, temperature=temperature)


@torch.no_grad()
def logits_of(teacher: Teacher, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
    """A teacher's logits for images in [0, 1], computed where the teacher lies."""
    logits: Tensor = _head(teacher)(features_of(teacher, images, precision="float32"))
    return logits


def _head(teacher: Teacher) -> nn.Linear:
    classifier = teacher.module.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    return classifier


def side_by_side(
    parts: Iterable[Tensor], *, images: int, width: int, most: int, rng: torch.Generator
) -> Float[Tensor, "b a"]:
    """What several teachers say, as one vector per image, in bounded memory.

    Up to `most` numbers they stand beside one another. Beyond, each part is mapped onto `most`
    random directions and added, which keeps inner products up to about 1 / sqrt(most) of the
    lengths (Johnson and Lindenstrauss 1984).

    Args:
        parts: (B, width of that part), one after the other; only one is held at a time.
        images: B.
        width: of all parts together.
        most: numbers per image at most.
        rng: of the random directions.
    """
    together, start = torch.zeros(images, min(width, most)), 0
    for part in parts:
        if width > most:
            directions = torch.randn(part.shape[1], most, generator=rng) / math.sqrt(most)
            together += part @ directions
        else:
            together[:, start : start + part.shape[1]] = part
            start += part.shape[1]
    return together


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PrincipalAxes:
    """Where answers vary, and how much."""

    mean: Float[Tensor, " a"]
    axes: Float[Tensor, "a p"]
    """Orthonormal columns, those of most variance first."""
    variances: Float[Tensor, " p"]
    kept: float
    """Share of all variance that lies in the axes."""

    def project(self, answers: Float[Tensor, "b a"], *, flattening: float) -> Float[Tensor, "b p"]:
        """Coordinates, each scaled by variance ** -flattening: 0 leaves them, 1/2 whitens."""
        scales = self.variances.clamp_min(1e-12) ** -flattening
        return (answers - self.mean) @ self.axes * scales


def principal_axes(
    answers: Float[Tensor, "b a"], n_axes: int, *, spare: int = SPARE_AXES
) -> PrincipalAxes:
    """The leading eigenvectors of the answers' covariance; fewer where answers are shorter.

    Of many numbers they are found by subspace iteration from a random start (Halko et al. 2011,
    algorithm 4.4), whose cost grows with their number, not with its cube. The start is always the
    same one, and no other randomness is touched.
    """
    mean = answers.mean(dim=0)
    centred = answers - mean
    total = float(centred.square().sum()) / len(answers)
    n_axes = min(n_axes, answers.shape[1])
    rank = n_axes + spare
    if rank * EXACT_SHARE < min(centred.shape):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # noqa: TID251  # svd_lowrank takes no generator
            _, lengths, vectors = torch.svd_lowrank(centred, q=rank, niter=ITERATIONS)
        leading, axes = lengths.square()[:n_axes] / len(answers), vectors[:, :n_axes]
    elif len(answers) < answers.shape[1]:
        # A covariance of more numbers than answers would take its cube; rows of zeros give axes
        # of no variance where answers are fewer than the axes asked for.
        enough = F.pad(centred, (0, 0, 0, max(n_axes - len(answers), 0)))
        _, lengths, vectors = torch.linalg.svd(enough, full_matrices=False)
        leading, axes = lengths.square()[:n_axes] / len(answers), vectors[:n_axes].T
    else:
        variances, vectors = torch.linalg.eigh(centred.T @ centred / len(answers))
        leading, axes = variances.flip(0)[:n_axes].clamp_min(0.0), vectors.flip(1)[:, :n_axes]
    return PrincipalAxes(
        mean=mean,
        axes=axes.contiguous(),
        variances=leading,
        kept=float(leading.sum()) / max(total, 1e-12),
    )


def axes_seconds(images: int, numbers: int, n_axes: int, device: torch.device) -> float:
    """Seconds (`clock_of` the device) that principal_axes will take, tried on noise.

    Whichever way it goes, its cost grows with the cube of all its sizes; the trial has a quarter of
    each.
    """
    shape = (max(images // 4, 2), max(numbers // 4, 2))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    trial = partial(principal_axes, noise, max(n_axes // 4, 1), spare=SPARE_AXES // 4)
    return 64 * fastest(trial, device)
