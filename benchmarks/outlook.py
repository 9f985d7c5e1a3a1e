"""What the outlook of a support set is worth: against the truth, on validation classes.

    python -m benchmarks.outlook --data DIR --pool DIR [--learner FILE] [--out FILE]

Compared over episodes of CIFAR-FS validation classes (never test classes): the accuracy that
leaving images out promises and the accuracy of the queries; probabilities and frequencies; the
share of queries answered at an asked coverage, and how many of those are right; classes said to be
alike and how often they are mixed up. Then, how strange support sets of other kinds look.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.data import LabelledImages, read_labelled
from benchmarks.machine import describe_code, describe_machine
from benchmarks.pool import find_pool, read_pool
from ml.classifiers import Classifier
from ml.delivered import Delivered, load_delivered
from ml.ensemble import EnsembleLearner
from ml.episodes import sample_episode
from ml.evaluation import NORMAL_95, calibration_error
from ml.fewshot import classifier_for
from ml.outlook import Outlook, outlook, strangeness_of
from ml.types import Episode

POOL, DATASET, MEMBERS = "cifarfs_conv4", "cifarfs_val", 10
WAYS, QUERIES, EPISODES, STRANGE_SETS = 5, 15, 300, 60
SHOTS, COVERAGES = (1, 2, 3, 5, 10), (0.9, 0.8, 0.5)
OTHERS = ("miniimagenet_val", "clothing10", "gtsrb", "fashionmnist", "omniglot_background")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Case:
    """One episode: what was expected, and what came."""

    expected: Outlook
    probabilities: Tensor
    labels: Tensor

    @property
    def right(self) -> Tensor:
        """1 for each query whose answer is its class."""
        return (self.probabilities.argmax(dim=1) == self.labels).float()


def main() -> None:
    """Measure, write the results and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help=f"holds {DATASET}.npz")
    parser.add_argument("--pool", type=Path, required=True, help=f"{POOL}, or the folder above it")
    parser.add_argument("--learner", type=Path, help=f"else {MEMBERS} of the pool side by side")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/outlook.json"))
    parser.add_argument("--episodes", type=int, default=EPISODES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    learner = load_delivered(options.learner) if options.learner else members_of(options.pool)
    data = read_labelled(options.data / f"{DATASET}.npz")
    results = {
        "learner": learner.backbone,
        "settings": {"ways": WAYS, "queries": QUERIES, "episodes": options.episodes, "seed": 0},
        "machine": describe_machine(torch.device("cpu")),
        "code": describe_code(),
        "by_shots": {n: judged(list(cases(learner, data, n, options.episodes))) for n in SHOTS},
        "strangeness": dict(strange(learner, options.data)),
    }
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({k: results[k] for k in ("by_shots", "strangeness")}, indent=1))  # noqa: T201


def members_of(pool: Path) -> EnsembleLearner:
    """The first models of the pool, side by side."""
    teachers = read_pool(find_pool(pool, POOL), POOL, torch.device("cpu")).teachers[:MEMBERS]
    return EnsembleLearner(members=tuple(teachers), teachers_asked=0, answer_temperature=2.0)


def cases(learner: Delivered, data: LabelledImages, n_shot: int, episodes: int) -> Iterator[Case]:
    """Episodes of one number of shots."""
    rng = torch.Generator().manual_seed(n_shot)
    images = data.floats()
    for _ in range(episodes):
        episode = sample_episode(
            images, data.labels, n_way=WAYS, n_shot=n_shot, n_query=QUERIES, rng=rng
        )
        yield case(learner, episode)


def case(learner: Delivered, episode: Episode) -> Case:
    """One episode, judged before and after its queries."""
    classifier: Classifier = classifier_for(
        learner, episode.support_images, episode.support_labels, n_way=episode.n_way
    )
    return Case(
        expected=outlook(learner, classifier, episode.support_images),
        probabilities=classifier.answer(episode.query_images).probabilities,
        labels=episode.query_labels,
    )


def judged(found: Sequence[Case]) -> dict[str, Any]:
    """What the expectations of many episodes were worth."""
    true = torch.stack([each.right.mean() for each in found])
    facts: dict[str, Any] = {
        "accuracy": mean(true),
        "calibration_error": calibration_error(
            torch.cat([each.probabilities.max(dim=1).values for each in found]),
            torch.cat([each.right for each in found]),
        ),
    }
    if found[0].expected.images:
        expected = torch.tensor([float(each.expected.accuracy or 0) for each in found])
        inside = [
            low <= float(accuracy) <= high
            for accuracy, (low, high) in zip(
                true, [each.expected.interval or (0.0, 1.0) for each in found], strict=True
            )
        ]
        facts |= {
            "expected_accuracy": mean(expected),
            "expected_minus_true": mean(expected - true),
            "inside_interval": mean(torch.tensor(inside).float()),
            "correlation": float(torch.corrcoef(torch.stack([expected, true]))[0, 1]),
            "abstaining": {str(c): abstained(found, c) for c in COVERAGES},
            "alike": alike(found),
        }
    return facts


def abstained(found: Sequence[Case], coverage: float) -> dict[str, Any]:
    """Queries answered at an asked coverage, and how many of them right."""
    answered, right, promised = [], [], []
    for each in found:
        threshold = each.expected.threshold(coverage)
        sure = each.probabilities.max(dim=1).values >= threshold
        answered.append(sure.float().mean())
        right.append(each.right[sure])
        promise = each.expected.accuracy_above(threshold)
        promised += [] if promise is None else [promise]
    return {
        "coverage": mean(torch.stack(answered)),
        "accuracy": float(torch.cat(right).mean()),
        "promised_accuracy": mean(torch.tensor(promised)),
    }


def alike(found: Sequence[Case]) -> dict[str, Any]:
    """How well classes are told apart in truth, where they were said to be alike and where not."""
    flagged: list[float] = []
    others: list[float] = []
    for each in found:
        said = {(pair.first, pair.second) for pair in each.expected.alike}
        for first in range(WAYS):
            for second in range(first + 1, WAYS):
                share = told_apart(each, first, second)
                (flagged if (first, second) in said else others).append(share)
    return {
        "share_of_pairs": len(flagged) / (len(flagged) + len(others)),
        "told_apart_if_said": mean(torch.tensor(flagged)) if len(flagged) > 1 else None,
        "told_apart_if_not": mean(torch.tensor(others)),
    }


def told_apart(one: Case, first: int, second: int) -> float:
    """Share of two classes' queries that are nearer to their own class than to the other."""
    nearer = one.probabilities[:, first] - one.probabilities[:, second]
    ours, theirs = one.labels == first, one.labels == second
    told = (nearer[ours] > 0).sum() + (nearer[theirs] < 0).sum()
    return float(told) / int(ours.sum() + theirs.sum())


def strange(learner: Delivered, data: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """How strange support sets of several kinds look, by ways and shots: 5, 50 and 95 %."""
    known = read_labelled(data / f"{DATASET}.npz")
    kinds = {DATASET: (known.floats(), known.labels)}
    kinds |= {
        "inverted": (1 - known.floats(), known.labels),
        "dark": (known.floats() / 4, known.labels),
        "noise": (
            torch.rand(known.images.shape, generator=torch.Generator().manual_seed(0)),
            known.labels,
        ),
    }
    for name in OTHERS:
        if (data / f"{name}.npz").is_file():
            other = read_labelled(data / f"{name}.npz")
            kinds[name] = (other.floats(), other.labels)
    for name, (images, labels) in kinds.items():
        yield name, {str(n_shot): quantiles(learner, images, labels, n_shot) for n_shot in (1, 5)}


def quantiles(learner: Delivered, images: Tensor, labels: Tensor, n_shot: int) -> list[float]:
    """Of the strangeness of support sets."""
    rng, seen = torch.Generator().manual_seed(0), []
    for _ in range(STRANGE_SETS):
        episode = sample_episode(images, labels, n_way=WAYS, n_shot=n_shot, n_query=1, rng=rng)
        seen.append(strangeness_of(learner, episode.support_images))
    values = torch.tensor([each for each in seen if each is not None])
    return [round(float(values.quantile(q)), 3) for q in (0.05, 0.5, 0.95)]


def mean(values: Tensor) -> dict[str, float]:
    """A mean with its 95 % interval."""
    half_width = NORMAL_95 * float(values.std()) / len(values) ** 0.5
    return {"mean": round(float(values.mean()), 4), "half_width_95": round(half_width, 4)}


if __name__ == "__main__":
    main()
