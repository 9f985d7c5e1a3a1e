"""Ratios of medians of what was measured side by side, with bootstrap intervals."""

import random
import statistics
from collections.abc import Sequence

RESAMPLES = 2000


def ratio_of_medians(
    pairs: Sequence[tuple[float, float]], *, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Median of the second over median of the first, and its 95 % percentile interval.

    Whole pairs are drawn again, since the two of a pair were measured in the same moments and share
    what else the machine did then.

    Args:
        pairs: (base, compared), such as seconds; one pair a round.
        seed: of the resampling.
    """
    rng = random.Random(seed)  # noqa: S311  # no secret
    drawn = sorted(_ratio(rng.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    cut = round(0.025 * RESAMPLES)
    return _ratio(pairs), (drawn[cut], drawn[-1 - cut])


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return statistics.median(b for _, b in pairs) / statistics.median(a for a, _ in pairs)
