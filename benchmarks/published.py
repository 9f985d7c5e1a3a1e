"""Figures from elsewhere, always shown as such: read from published.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import BenchmarkError

PUBLISHED = Path(__file__).resolve().parent / "published.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFigure:
    """One accuracy on test classes under the papers' meta-test, 5-way."""

    dataset: str
    title: str
    n_shot: int
    mean: float
    """A fraction."""
    source: str
    half_width_95: float | None = None
    """None where the source gives no interval."""
    n: int | None = None
    """Episodes; None where the source does not say."""


def read_published(path: Path = PUBLISHED) -> tuple[PublishedFigure, ...]:
    """All figures, in the file's order.

    Raises:
        BenchmarkError: if the file has another form, or a mean is no fraction.
    """
    try:
        figures = tuple(
            PublishedFigure(**each) for each in tomllib.loads(path.read_text())["figure"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} is no list of published figures: {error}.") from error
    for figure in figures:
        if not 0 < figure.mean < 1:
            raise BenchmarkError(f"{path}: {figure.title} needs a mean between 0 and 1.")
    return figures
