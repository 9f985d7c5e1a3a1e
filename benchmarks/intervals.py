"""From the figures of several seeds to one figure with its two intervals.

An interval over episodes says how well one build was measured; an interval over seeds says how
well the method was. Neither stands for the other.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.results import Accuracy
from ml.evaluation import NORMAL_95

T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom; the normal's above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A mean over seeds; all as fractions."""

    mean: float
    over_episodes: float
    """Half width of the 95 % interval over episodes."""
    over_seeds: float | None
    """Half width of the 95 % t interval over seeds; None for a single seed."""
    n_seeds: int
    n_episodes: int
    """Per seed."""


def t_half_width(values: Sequence[float]) -> float | None:
    """Half width of the 95 % t interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    quantile = T_975[freedom - 1] if freedom <= len(T_975) else NORMAL_95
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def geometric_mean(ratios: Sequence[float]) -> tuple[float, list[float] | None]:
    """Of positive ratios, with its 95 % t interval taken on their logarithms; None for one."""
    logs = [math.log(ratio) for ratio in ratios]
    mean, half = math.exp(statistics.fmean(logs)), t_half_width(logs)
    return mean, None if half is None else [mean / math.exp(half), mean * math.exp(half)]


def summarise(by_seed: Mapping[int, Accuracy]) -> Summary:
    """Mean over seeds.

    Every seed answers the same episodes, so more seeds do not narrow the interval over episodes:
    it is the mean of the seeds' own, which is never too narrow.
    """
    accuracies = list(by_seed.values())
    return Summary(
        mean=statistics.fmean(each.mean for each in accuracies),
        over_episodes=statistics.fmean(each.half_width_95 for each in accuracies),
        over_seeds=t_half_width([each.mean for each in accuracies]),
        n_seeds=len(accuracies),
        n_episodes=min(each.n for each in accuracies),
    )


def difference(row: Mapping[int, Accuracy], base: Mapping[int, Accuracy]) -> Summary | None:
    """Row minus base over the seeds that both have; None if there is none.

    Over episodes the two are taken as independent. They answered the same episodes, which makes
    their errors alike, so the interval is too wide rather than too narrow. Over seeds the
    difference is taken seed by seed.
    """
    seeds = sorted(row.keys() & base.keys())
    if not seeds:
        return None
    ours, theirs = (summarise({seed: each[seed] for seed in seeds}) for each in (row, base))
    gaps = [row[seed].mean - base[seed].mean for seed in seeds]
    return Summary(
        mean=statistics.fmean(gaps),
        over_episodes=math.hypot(ours.over_episodes, theirs.over_episodes),
        over_seeds=t_half_width(gaps),
        n_seeds=len(seeds),
        n_episodes=min(ours.n_episodes, theirs.n_episodes),
    )
