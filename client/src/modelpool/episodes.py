"""Few-shot episodes drawn from labelled files, and the accuracy over them with its interval."""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpool.errors import UnusableFile

NORMAL_975 = statistics.NormalDist().inv_cdf(0.975)
FEWEST = 5
"""Episodes that an interval needs."""


@dataclass(frozen=True)
class Plan:
    """The sizes of every episode."""

    way: int
    shots: int
    queries: int
    """Of each class."""


@dataclass(frozen=True)
class Episode:
    """Labelled files to learn from, and labelled files to ask about."""

    support: list[tuple[str, Path]]
    query: list[tuple[str, Path]]


@dataclass(frozen=True)
class Accuracy:
    """A mean over episodes as a fraction, and half its 95 % interval."""

    mean: float
    half_width: float | None
    """None where all episodes came out alike: that tells no spread."""
    n: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its ends, within 0 and 1."""
        if self.half_width is None:
            return None
        return max(0.0, self.mean - self.half_width), min(1.0, self.mean + self.half_width)


def plan_for(
    classes: Mapping[str, Sequence[Path]], *, way: int | None, shots: int, queries: int
) -> Plan:
    """Episodes that the files allow: all sizes as wished, but for fewer queries where they lack.

    Raises:
        UnusableFile: a class has too few images, or there are too few classes.
    """
    way = way or min(5, len(classes))
    if not 2 <= way <= len(classes):
        raise UnusableFile(
            f"There are {len(classes)} classes; --way takes 2 to {len(classes)}, not {way}."
        )
    small = {name: len(paths) for name, paths in classes.items() if len(paths) < shots + 1}
    if small:
        named = ", ".join(f"{name} ({n})" for name, n in list(small.items())[:5])
        fewest = min(len(paths) for paths in classes.values())
        less = f", or pass --shots {fewest - 1}" if fewest > 1 else ""
        raise UnusableFile(
            f"Each class needs {shots + 1} images: {shots} to learn from and 1 to ask about. Too "
            f"few are in {named}{', ...' if len(small) > 5 else ''}. Add some, leave the class "
            f"out{less}."
        )
    possible = min(len(paths) for paths in classes.values()) - shots
    return Plan(way=way, shots=shots, queries=min(queries, possible))


def draw(classes: Mapping[str, Sequence[Path]], plan: Plan, rng: random.Random) -> Episode:
    """An episode; the same state of rng draws the same."""
    support: list[tuple[str, Path]] = []
    query: list[tuple[str, Path]] = []
    for label in rng.sample(sorted(classes), plan.way):
        drawn = rng.sample(list(classes[label]), plan.shots + plan.queries)
        support += [(label, path) for path in drawn[: plan.shots]]
        query += [(label, path) for path in drawn[plan.shots :]]
    return Episode(support=support, query=query)


def accuracy_of(shares: Sequence[float]) -> Accuracy:
    """Mean and interval, by Student's t, of the episodes' shares of right answers."""
    n = len(shares)
    half = t_975(n - 1) * statistics.stdev(shares) / math.sqrt(n)
    return Accuracy(mean=statistics.fmean(shares), half_width=half or None, n=n)


def t_975(freedom: int) -> float:
    """Student's 97.5 % quantile, expanded around the normal one (Abramowitz & Stegun 26.7.5).

    Off by less than 0.4 % from 4 degrees of freedom on.
    """
    z = NORMAL_975
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))
