"""Rank correlation, and bootstrap intervals over subjects."""

from collections.abc import Callable

import torch
from torch import Tensor

RESAMPLED = 2_000


def ranks(values: Tensor) -> Tensor:
    """Places in ascending order from 0; equal values share the mean of theirs."""
    below = (values.unsqueeze(1) > values).sum(dim=1).double()
    equal = (values.unsqueeze(1) == values).sum(dim=1).double()
    return below + (equal - 1) / 2


def spearman(one: Tensor, other: Tensor) -> float:
    """The correlation of two orders, -1 to 1; 0 where all of one are equal."""
    a, b = ranks(one), ranks(other)
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale else 0.0


def bootstrapped(statistic: Callable[[Tensor], float], count: int) -> dict[str, float]:
    """A statistic of rows 0 to count - 1 with its 95 % percentile interval over resampled rows."""
    rng = torch.Generator().manual_seed(0)
    again = torch.tensor(
        [statistic(torch.randint(count, (count,), generator=rng)) for _ in range(RESAMPLED)]
    )
    low, high = torch.quantile(again, torch.tensor([0.025, 0.975])).tolist()
    value = statistic(torch.arange(count))
    return {"value": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
