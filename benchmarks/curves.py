"""From qualities by number of steps to how much sooner one start gets there than another."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.intervals import t_half_width

RECOGNISED = 0.95
META, NEW, PUBLISHED = "meta-generator", "new generator", "new generator, published settings"
INVERSION = "new generator, slow inversion as published"
LAST_GAP = "BatchNorm gap of that one's 200 steps"
OWN_STEPS = (5, 10)
"""Steps of the meta-generator whose quality a new one is to reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a number of steps bought on one teacher."""

    steps: int
    seconds: float
    accuracy: float
    """Share of the images that the teacher gives their label."""
    cross_entropy: float
    """In nats."""
    gap: float
    """Sum over layers of the BatchNorm gaps, in activations."""


def mean_curve(curves: Sequence[Sequence[Point]]) -> list[dict[str, float]]:
    """Means over teachers, budget by budget."""
    fields = ("steps", "seconds", "accuracy", "cross_entropy", "gap")
    return [
        {name: statistics.fmean(getattr(point, name) for point in points) for name in fields}
        for points in zip(*curves, strict=True)
    ]


def criteria_of(curves: dict[str, list[list[Point]]]) -> list[dict[str, Any]]:
    """For each criterion, how much sooner the meta-generator meets it than each new one."""
    recognised = [RECOGNISED] * len(curves[META])
    own = {
        f"BatchNorm gap of the meta-generator's {steps} steps": [
            next(point.gap for point in curve if point.steps >= steps) for curve in curves[META]
        ]
        for steps in OWN_STEPS
        if all(curve[-1].steps >= steps for curve in curves[META])
    }
    return [
        compared("teacher recognises 95 %", curves, NEW, recognised, by_gap=False),
        compared("teacher recognises 95 %", curves, PUBLISHED, recognised, by_gap=False),
        *(compared(name, curves, NEW, gaps, by_gap=True) for name, gaps in own.items()),
        compared(LAST_GAP, curves, NEW, last_gaps(curves[NEW]), by_gap=True),
        compared(LAST_GAP, curves, INVERSION, last_gaps(curves[INVERSION]), by_gap=True),
    ]


def last_gaps(curves: Sequence[Sequence[Point]]) -> list[float]:
    """What the largest budget reached on each teacher."""
    return [curve[-1].gap for curve in curves]


def compared(
    criterion: str,
    curves: dict[str, list[list[Point]]],
    baseline: str,
    targets: Sequence[float],
    *,
    by_gap: bool,
) -> dict[str, Any]:
    """Seconds until a target is met, per teacher, and their ratio (geometric mean, t interval)."""
    found = {
        name: [
            first_to_meet(curve, target, by_gap=by_gap)
            for curve, target in zip(curves[name], targets, strict=True)
        ]
        for name in (META, baseline)
    }
    logs = [
        math.log(theirs.seconds / ours.seconds)
        for ours, theirs in zip(found[META], found[baseline], strict=True)
        if ours is not None and theirs is not None
    ]
    half = t_half_width(logs)
    ratio = math.exp(statistics.fmean(logs)) if logs else None
    return {
        "criterion": criterion,
        "baseline": baseline,
        "teachers": len(targets),
        "met": {name: sum(each is not None for each in points) for name, points in found.items()},
        "steps": {name: median_steps(points) for name, points in found.items()},
        "speed_up": ratio,
        "speed_up_95": None
        if ratio is None or half is None
        else [ratio / math.exp(half), ratio * math.exp(half)],
        "n": len(logs),
    }


def first_to_meet(curve: Sequence[Point], target: float, *, by_gap: bool) -> Point | None:
    """The smallest budget that meets a target; None if none does."""
    for point in curve:
        if (point.gap <= target) if by_gap else (point.accuracy >= target):
            return point
    return None


def median_steps(points: Sequence[Point | None]) -> float | None:
    """Of those teachers on which the target was met."""
    steps = [point.steps for point in points if point is not None]
    return statistics.median(steps) if steps else None
