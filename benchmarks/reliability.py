"""Whether a model's reliability tells honest models from fake ones, and good ones from bad ones.

    python -m benchmarks.reliability --data DIR --pool DIR --models DIR [--out FILE]

For each kind of impostor: how often an honest model of the pool has the higher reliability (the
area under the ROC curve; 0.5 is chance), on the half that the numbers of ml/reliability.py were
chosen on and on the half that confirms them, with a 95 % interval over resampled models. Then, how
reliability goes with few-shot accuracy on CIFAR-FS validation classes. Models are trained where
--models does not hold them yet, in about a quarter of an hour of one core.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.data import LabelledImages, read_labelled
from benchmarks.impostors import CPU, KINDS, SPOILT, spoilt, trained
from benchmarks.machine import describe_code, describe_machine
from benchmarks.pool import find_pool, read_pool
from benchmarks.ranks import RESAMPLED, bootstrapped, spearman
from ml.answers import features_of
from ml.episodes import sample_episode
from ml.reliability import information_of, reliability, smoothness_of
from ml.types import Teacher

POOL, DATASET = "cifarfs_conv4", "cifarfs_val"
CHOSEN_ON, SPOILT_OF_A_HALF = 40, 10
WAYS, SHOTS, QUERIES, EPISODES, IMAGES = 5, 5, 15, 200, 50
AS_EXPECTED = 0.5
HALVES = ("chosen_on", "confirmed_on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was found of one model."""

    kind: str
    half: int
    reliability: float
    information: float
    smoothness: float
    accuracy: float | None
    """5-way 5-shot; None for models of grey pictures."""
    seconds: float
    """Of the processor, for the reliability."""


def main() -> None:
    """Measure, write the results and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help=f"holds {DATASET}.npz and others")
    parser.add_argument("--pool", type=Path, required=True, help=f"{POOL}, or the folder above it")
    parser.add_argument("--models", type=Path, required=True, help="where trained models lie")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/reliability.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = list(measured(options.data, options.pool, options.models))
    results = {
        "settings": {
            "ways": WAYS,
            "shots": SHOTS,
            "queries": QUERIES,
            "episodes": EPISODES,
            "chosen_on": f"the pool's first {CHOSEN_ON} models, half 0 of the others",
        },
        "machine": describe_machine(CPU),
        "code": describe_code(),
        "kinds": {kind: by_half(rows, kind) for kind in dict.fromkeys(row.kind for row in rows)},
        "spearman_with_accuracy": correlations(rows),
        "median_seconds": float(torch.tensor([row.seconds for row in rows]).median()),
    }
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))  # noqa: T201


def measured(data: Path, pool: Path, models: Path) -> Iterator[Row]:
    """The pool's models, then all kinds of others."""
    judge = partial(judged, exam=Exam(read_labelled(data / f"{DATASET}.npz")))
    teachers = read_pool(find_pool(pool, POOL), POOL, CPU).teachers
    for place, teacher in enumerate(teachers):
        yield judge(teacher, POOL, int(place >= CHOSEN_ON))
    for how in SPOILT:
        for half in (0, 1):
            first = CHOSEN_ON * half
            for seed in range(first, first + SPOILT_OF_A_HALF):
                yield judge(spoilt(teachers[seed], how, seed), how, half)
    for kind in KINDS:
        for half, made in trained(kind, data, models):
            for teacher in made.teachers:
                yield judge(teacher, kind, half)


class Exam:
    """The same episodes for every model."""

    def __init__(self, data: LabelledImages) -> None:
        classes = range(len(data.class_names))
        rows = [torch.nonzero(data.labels == label).flatten()[:IMAGES] for label in classes]
        self._images = data.floats()[torch.cat(rows)]
        numbers = torch.arange(len(self._images)).view(-1, 1, 1, 1)
        labels, rng = data.labels[torch.cat(rows)], torch.Generator().manual_seed(0)
        drawn = (
            sample_episode(numbers, labels, n_way=WAYS, n_shot=SHOTS, n_query=QUERIES, rng=rng)
            for _ in range(EPISODES)
        )
        self._episodes = [
            (
                each.support_images.flatten(),
                each.support_labels,
                each.query_images.flatten(),
                each.query_labels,
            )
            for each in drawn
        ]

    def accuracy(self, teacher: Teacher) -> float | None:
        """Of the nearest class mean of its features; None for a model of grey pictures."""
        if teacher.channels == 1:
            return None
        features = F.normalize(features_of(teacher, self._images, precision="float32"), dim=1)
        right = 0.0
        for support, support_labels, query, query_labels in self._episodes:
            means = torch.stack(
                [features[support[support_labels == label]].mean(dim=0) for label in range(WAYS)]
            )
            said = torch.cdist(features[query], means).argmin(dim=1)
            right += float((said == query_labels).double().mean())
        return right / EPISODES


def judged(teacher: Teacher, kind: str, half: int, *, exam: Exam) -> Row:
    """One model, examined."""
    started = time.process_time()
    found = reliability(teacher)
    seconds = time.process_time() - started
    return Row(
        kind=kind,
        half=half,
        reliability=0.0 if found is None else found,
        information=information_of(teacher) or 0.0,
        smoothness=smoothness_of(teacher),
        accuracy=exam.accuracy(teacher),
        seconds=seconds,
    )


def by_half(rows: Sequence[Row], kind: str) -> Mapping[str, Any]:
    """A kind's figures on each half."""
    return {
        name: of_kind(
            [row for row in rows if (row.kind, row.half) == (kind, half)],
            [row for row in rows if (row.kind, row.half) == (POOL, half)],
        )
        for half, name in enumerate(HALVES)
    }


def of_kind(own: Sequence[Row], pool: Sequence[Row]) -> dict[str, Any]:
    """How a kind's models compare with the pool's."""
    accuracies = [row.accuracy for row in own if row.accuracy is not None]
    values = torch.tensor([row.reliability for row in own])
    return {
        "n": len(own),
        "accuracy": round(sum(accuracies) / len(accuracies), 4) if accuracies else None,
        "reliability": [round(float(values.quantile(q)), 3) for q in (0.0, 0.5, 1.0)],
        "as_expected": round(float((values >= AS_EXPECTED).double().mean()), 3),
        **{
            f"area_of_{name}": area(
                *(torch.tensor([getattr(r, name) for r in g]) for g in (pool, own))
            )
            for name in ("reliability", "information", "smoothness")
        },
    }


def area(honest: Tensor, others: Tensor) -> dict[str, float]:
    """How often an honest one has more, with its 95 % percentile interval; both resampled."""
    wins = (honest.unsqueeze(1) > others).double() + (honest.unsqueeze(1) == others).double() / 2
    rng = torch.Generator().manual_seed(0)
    again = torch.stack(
        [
            wins[torch.randint(len(honest), (len(honest),), generator=rng)][
                :, torch.randint(len(others), (len(others),), generator=rng)
            ].mean()
            for _ in range(RESAMPLED)
        ]
    )
    low, high = torch.quantile(again, torch.tensor([0.025, 0.975], dtype=again.dtype)).tolist()
    return {"value": round(float(wins.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


def correlations(rows: Sequence[Row]) -> dict[str, Any]:
    """Spearman's rank correlation of reliability and accuracy, of the confirming half."""
    own = [row for row in rows if row.half == 1 and row.accuracy is not None]
    groups: dict[str, Callable[[Row], bool]] = {
        "pool": lambda row: row.kind == POOL,
        "all": lambda _: True,
        "all_but_spoilt": lambda row: row.kind not in SPOILT,
    }
    return {name: correlation([row for row in own if which(row)]) for name, which in groups.items()}


def correlation(rows: Sequence[Row]) -> dict[str, float]:
    """Of some models."""
    both = torch.tensor([[row.reliability, row.accuracy or 0.0] for row in rows])
    found = bootstrapped(lambda who: spearman(both[who, 0], both[who, 1]), len(rows))
    return {"n": len(rows), **found}


if __name__ == "__main__":
    main()
