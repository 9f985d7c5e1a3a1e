"""Tables and numbers as the results page writes them."""

from collections.abc import Sequence

from benchmarks.intervals import Summary


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, and an empty one behind it."""
    lines = [_line(columns), _line(["---"] * len(columns))]
    return [*lines, *(_line(row) for row in rows), ""]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def percent(fraction: float) -> str:
    """A fraction in percent with one digit."""
    return f"{100 * fraction:.1f}"


def ratio(value: float | None, interval: Sequence[float] | None) -> str:
    """A ratio of times, with its interval where there is one."""
    if value is None:
        return "-"
    text = _two_digits(value)
    if interval is None:
        return text
    return f"{text} ({_two_digits(interval[0])} to {_two_digits(interval[1])})"


def _two_digits(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def accuracy(summary: Summary | None, *, trained: bool) -> str:
    """Mean ± interval over episodes, and in brackets the interval over seeds."""
    if summary is None:
        return "-"
    return f"{percent(summary.mean)} ± {percent(summary.over_episodes)}" + _seeds(summary, trained)


def signed(summary: Summary | None, *, trained: bool) -> str:
    """The same for a difference, in percentage points."""
    if summary is None:
        return "-"
    text = f"{100 * summary.mean:+.1f} ± {percent(summary.over_episodes)}"
    return text + _seeds(summary, trained)


def _seeds(summary: Summary, trained: bool) -> str:
    if summary.over_seeds is not None:
        return f" [± {percent(summary.over_seeds)}]"
    return " [one build]" if trained else ""
