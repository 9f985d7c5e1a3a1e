"""What a build's estimate without data is worth: against the truth, over learners good and bad.

    python -m benchmarks.estimates --data DIR --pool DIR [--out FILE]

Learners of one pool, from untrained to the whole pool side by side, sit the exam that a report
sets without data, and one on CIFAR-FS validation classes (never test classes). Compared are their
orders (Spearman), their levels, and what a report would say of each against each.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.data import read_labelled
from benchmarks.machine import describe_code, describe_machine
from benchmarks.pool import find_pool, read_pool
from benchmarks.ranks import bootstrapped, spearman
from ml.algorithms import ALGORITHMS
from ml.canvas import choose_canvas
from ml.ensemble import EnsembleLearner
from ml.episodes import draw_rows
from ml.evaluation import random_initialisation
from ml.learner import MetaLearner
from ml.reporting.candidates import (
    Candidate,
    as_served,
    beside_one_another,
    ensemble_as_served,
    said_by,
)
from ml.reporting.exams import Exam, validation_exam
from ml.reporting.pictures import recovered_exam
from ml.reporting.report import score_over
from ml.reporting.sitting import in_all_questions, pixels
from ml.reporting.size import FULL
from ml.types import Teacher

CPU = torch.device("cpu")
POOL, DATASET = "cifarfs_conv4", "cifarfs"
TEACHERS, ALONE, TOGETHER, ASKED = 24, 8, (2, 5, 10, 24), (1, 3, 10, 0)
BUILDS: Mapping[str, Mapping[str, Any]] = {
    "multi_teacher": {"images": 800, "refine_steps": 2, "steps": 300, "save_every": 75},
    "free": {"preset": "tiny", "outer_steps": 12, "save_every": 6},
}
IMAGES_A_CLASS, TRUE_EPISODES, EXAMS = 40, 150, (0,)
Trained = Mapping[str, MetaLearner | EnsembleLearner]


def main() -> None:
    """Measure, write the results and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help=f"holds {DATASET}_val.npz")
    parser.add_argument("--pool", type=Path, required=True, help=f"{POOL}, or the folder above it")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/estimates/estimates.json")
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    started_s = time.process_time()
    pool = read_pool(find_pool(options.pool, POOL), POOL, CPU)
    teachers = pool.teachers[:TEACHERS]
    trained = train_all(teachers, BUILDS)
    true = sit_all(true_exam(options.data), trained, teachers)
    canvas = choose_canvas(teachers, image_size=None, channels=None)
    estimates = {
        seed: sit_all(
            recovered_exam(
                teachers, canvas, pictures=FULL.pictures, episodes=FULL.episodes, rng=seeded(seed)
            ),
            trained,
            teachers,
        )
        for seed in EXAMS
    }
    exams = {str(seed): compare(true, each) for seed, each in estimates.items()}
    results = {
        "pool": pool.facts() | {"models_used": len(teachers)},
        "truth": {"split": "validation", "episodes": TRUE_EPISODES, "images": IMAGES_A_CLASS},
        "builds": {name: dict(config) for name, config in BUILDS.items()},
        "exams": exams,
        "cpu_s": round(time.process_time() - started_s),
        "machine": describe_machine(CPU),
        "code": describe_code(),
    }
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    for seed, each in exams.items():
        print(json.dumps({"exam": seed} | {n: v for n, v in each.items() if n != "subjects"}))  # noqa: T201


def seeded(seed: int) -> torch.Generator:
    """A source of randomness."""
    return torch.Generator().manual_seed(seed)


# Who is compared.


def train_all(
    teachers: Sequence[Teacher], builds: Mapping[str, Mapping[str, Any]]
) -> dict[str, MetaLearner | EnsembleLearner]:
    """One build of each algorithm with all its waypoints, untrained networks, ensembles."""
    trained: dict[str, MetaLearner | EnsembleLearner] = {}
    for name, settings in builds.items():
        algorithm = ALGORITHMS[name]
        end = algorithm.train(
            teachers,
            algorithm.configure(settings),
            rng=seeded(0),
            device=CPU,
            offer=keep_in(trained, name),
        )
        assert isinstance(end, MetaLearner)
        trained[f"{name}, end"] = end
        trained[f"untrained {name}"] = random_initialisation(end, seeded(1))
    for asked in ASKED:
        config = ALGORITHMS["ensemble"].configure({"teachers_asked": asked})
        ensemble = ALGORITHMS["ensemble"].train(teachers, config, rng=seeded(0), device=CPU)
        trained[f"ensemble, {asked or 'all'} asked"] = ensemble
    return trained


def keep_in(
    trained: dict[str, MetaLearner | EnsembleLearner], name: str
) -> Callable[[int, MetaLearner], None]:
    """An offer that is taken."""

    def keep(step: int, learner: MetaLearner) -> None:
        trained[f"{name}, step {step}"] = learner

    return keep


def true_exam(data: Path) -> Exam:
    """Real images of classes that no teacher saw."""
    images = read_labelled(data / f"{DATASET}_val.npz")
    rows = [
        torch.nonzero(images.labels == each).flatten()[:IMAGES_A_CLASS]
        for each in torch.unique(images.labels)
    ]
    kept = torch.cat(rows)
    return validation_exam(
        images.floats()[kept], images.labels[kept], episodes=TRUE_EPISODES, rng=seeded(0)
    )


def sit_all(
    exam: Exam, trained: Trained, teachers: Sequence[Teacher]
) -> dict[str, dict[int, Tensor]]:
    """Every learner, some teachers alone, some side by side, and pixels answer all questions."""
    features, answers, mirrored = {}, {}, {}
    turned = exam.images.flip(-1)
    for place, teacher in enumerate(teachers):
        said = said_by(teacher, exam.images)
        features[place], answers[place] = said.features, said.answers
        mirrored[place] = said_by(teacher, turned).answers
    candidates: dict[str, Candidate] = {"pixels": pixels(exam)}
    for name, learner in trained.items():
        candidates[name] = (
            ensemble_as_served(learner, answers, mirrored)
            if isinstance(learner, EnsembleLearner)
            else as_served(exam, learner)
        )
    order = draw_rows(len(teachers), len(teachers), seeded(0)).tolist()
    for place in order[:ALONE]:
        candidates[f"teacher {place} alone"] = beside_one_another(_or_nothing(features, place))
    for count in TOGETHER:
        some = order[:count]
        candidates[f"features of {count}"] = beside_one_another({p: features[p] for p in some})
        candidates[f"answers of {count}"] = beside_one_another({p: answers[p] for p in some})
    return in_all_questions(exam, candidates, lambda _: None)


def _or_nothing(parts: Mapping[int, Tensor], place: int) -> dict[int, Tensor]:
    """One teacher's part beside one that says nothing: all that is left where it labelled."""
    return {place: parts[place], -1: torch.zeros(len(parts[place]), 1)}


# How they compare.


def compare(
    true: Mapping[str, Mapping[int, Tensor]], estimated: Mapping[str, Mapping[int, Tensor]]
) -> dict[str, Any]:
    """Orders, levels and verdicts, by number of shots."""
    return {
        "subjects": {
            name: {
                str(shots): {
                    "true": round(score_over(true[name][shots]).mean, 4),
                    "estimate": round(score_over(estimated[name][shots]).mean, 4),
                }
                for shots in true[name]
            }
            for name in true
        },
        **{str(shots): compared(true, estimated, shots) for shots in next(iter(true.values()))},
    }


def compared(
    true: Mapping[str, Mapping[int, Tensor]],
    estimated: Mapping[str, Mapping[int, Tensor]],
    shots: int,
) -> dict[str, Any]:
    """At one number of shots."""
    pairs = torch.tensor(
        [
            [score_over(true[name][shots]).mean, score_over(estimated[name][shots]).mean]
            for name in true
        ],
        dtype=torch.float64,
    )
    gaps = pairs[:, 1] - pairs[:, 0]
    level = bootstrapped(lambda rows: float(gaps[rows].mean()), len(gaps))
    rank = bootstrapped(lambda rows: spearman(pairs[rows, 0], pairs[rows, 1]), len(pairs))
    return {
        "n": len(pairs),
        "rank_correlation": rank,
        "mean_gap": level,
        "mean_absolute_gap": round(float(gaps.abs().mean()), 4),
        "largest_gap": round(float(gaps.abs().max()), 4),
        "verdicts": verdicts(true, estimated, shots),
    }


def verdicts(
    true: Mapping[str, Mapping[int, Tensor]],
    estimated: Mapping[str, Mapping[int, Tensor]],
    shots: int,
) -> dict[str, int]:
    """Of all ordered pairs: is "shown to be better" by the estimate right about the truth?"""
    counts = {"shown_and_better": 0, "shown_and_not_better": 0, "not_shown": 0}
    for ours in true:
        for theirs in true:
            if ours == theirs:
                continue
            paired = score_over(estimated[ours][shots] - estimated[theirs][shots])
            better = score_over(true[ours][shots]).mean > score_over(true[theirs][shots]).mean
            if paired.mean - paired.half_width_95 <= 0:
                counts["not_shown"] += 1
            else:
                counts["shown_and_better" if better else "shown_and_not_better"] += 1
    return counts


if __name__ == "__main__":
    main()
