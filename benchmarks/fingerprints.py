"""Whether fingerprints tell which models of a pool share classes, made of the models alone.

    python -m benchmarks.fingerprints --pool DIR

Over all pairs of a pool's models, how often a pair that shares classes is more alike than one that
shares none (the area under the ROC curve; 0.5 is chance), with a 95 % interval over resampled
models.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.pool import find_pool, read_pool
from benchmarks.ranks import bootstrapped
from ml.fingerprint import fingerprint
from ml.types import Teacher

POOL = "cifarfs_conv4"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True, help=f"{POOL}, or the folder above it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teachers = read_pool(find_pool(options.pool, POOL), POOL, torch.device("cpu")).teachers
    prints = torch.stack([fingerprint(teacher) for teacher in teachers])
    unit = F.normalize(prints - prints.mean(dim=0), dim=1)
    alike, shared = unit @ unit.T, classes_shared(teachers)
    for least in (1, 2):
        found = bootstrapped(partial(area, alike, shared, least), len(teachers))
        pairs = int((shared >= least).triu(1).sum())
        print(  # noqa: T201
            f"{len(teachers)} models, {pairs} pairs share {least} or more classes: "
            f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
        )


def classes_shared(teachers: tuple[Teacher, ...]) -> Tensor:
    """(T, T): how many class names two models have in common."""
    names = [set(teacher.class_names) for teacher in teachers]
    return torch.tensor([[len(a & b) for b in names] for a in names])


def area(alike: Tensor, shared: Tensor, least: int, who: Tensor) -> float:
    """Mann and Whitney's U, as a share; a model is never compared with itself."""
    rows, columns = torch.triu_indices(len(who), len(who), 1)
    first, second = who[rows], who[columns]
    two = first != second
    scores, common = alike[first, second][two], shared[first, second][two]
    positive, negative = scores[common >= least], scores[common == 0]
    ranks = torch.cat([positive, negative]).argsort().argsort().double() + 1
    n, m = len(positive), len(negative)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


if __name__ == "__main__":
    main()
