"""Where the meta-learner stands, in numbers and in a plain sentence.

Accuracies are fractions here and percent in what is printed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ml.evaluation import Score, score_of

SHORT = {
    "random_initialisation": "untrained network",
    "single_teacher": "one model, on average",
    "best_teacher": "the best model",
    "pool_features": "all models' features",
    "pool_answers": "all models' answers",
    "pixels": "pixels",
}
"""What the demo calls the baselines of a build's report."""

META_LEARNER = "meta-learner, over HTTP"

Accuracies = Mapping[int, Sequence[float]]
"""Per number of shots, per episode."""


def mean_and_interval(values: Sequence[float]) -> Score:
    """Mean with its 95 % interval; of accuracies, or of paired differences of them."""
    return score_of(torch.tensor(values, dtype=torch.float64))


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Score:
    """How much better ours is per episode; pairing takes the episodes' own difficulty out."""
    return mean_and_interval([a - b for a, b in zip(ours, theirs, strict=True)])


def best_baseline(baselines: Mapping[str, Accuracies], n_shot: int) -> str:
    """The name of the one with the highest mean."""
    return max(baselines, key=lambda name: mean_and_interval(baselines[name][n_shot]).mean)


def percent(score: Score) -> str:
    """41.2 ± 0.9."""
    return f"{100 * score.mean:.1f} ± {100 * score.half_width_95:.1f}"


def table_rows(results: Mapping[str, Accuracies], shots: Sequence[int]) -> dict[str, list[str]]:
    """A row per subject, a cell per number of shots."""
    return {
        name: [percent(mean_and_interval(accuracies[n_shot])) for n_shot in shots]
        for name, accuracies in results.items()
    }


def verdict(difference: Score, *, baseline: str, build: str, subject: str) -> str:
    """One sentence that hides neither a loss nor a tie.

    Args:
        difference: meta-learner minus baseline, paired, as fractions.
        baseline: the best of the baselines.
        build: what kind of build it was, such as "short CPU build".
        subject: what was asked about, such as "digits".
    """
    points, width = 100 * abs(difference.mean), 100 * difference.half_width_95
    side = "above" if difference.mean >= 0 else "below"
    stands = f"The meta-learner is {points:.1f} ± {width:.1f} points {side} {baseline}"
    if difference.mean - difference.half_width_95 > 0:
        return f"{stands}: this {build} is worth using for {subject}."
    if difference.mean + difference.half_width_95 < 0:
        return f"{stands}: this {build} is not yet worth using for {subject}."
    return (
        f"{stands}, which {difference.n} episodes cannot tell from no difference: this {build} is "
        f"not shown to be worth using for {subject}."
    )


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """What a build's own report says, in a few lines of text.

    Args:
        report: of a meta-learner's record.
    """
    estimate = report.get("estimate")
    if estimate is None:
        return [warning["message"] for warning in report.get("warnings", [])]
    shots = estimate["shots"]
    where = "drawn pictures, without data" if estimate["kind"] == "recovered" else "validation set"
    lines = [
        f"The build's own estimate ({where}; {estimate['way']}-way, {_shots_of(shots)} shots):"
    ]
    rows = [("meta-learner", shots)]
    rows += [(SHORT.get(b["name"], b["name"]), b["shots"]) for b in report["baselines"]]
    width = max(len(name) for name, _ in rows)
    lines += [f"  {name:<{width}}  {_cells(each)}" for name, each in rows]
    return lines + [f"  Note: {warning['message']}" for warning in report["warnings"]]


def _shots_of(shots: Mapping[str, Any]) -> str:
    return " / ".join(shots)


def _cells(shots: Mapping[str, Any]) -> str:
    cells = []
    for score in shots.values():
        low, high = score["interval"]
        cells.append(f"{100 * score['accuracy']:.1f} ± {50 * (high - low):.1f}")
    return " / ".join(cells) + " %"
