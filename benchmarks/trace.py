"""What a meta-training run tells on its way, kept as facts: stages, counts, quality of its ETA."""

import time
from collections import Counter, defaultdict
from typing import Any

from ml.types import Progress

FIRST_SHARE = 0.1  # of the run: before, the ETA is not judged


class Trace:
    """Listens to a run's reports; called with each, asked for the facts at the end."""

    def __init__(self) -> None:
        """Start the clock."""
        self._started_s = time.perf_counter()
        self._reports: list[tuple[float, Progress]] = []

    def __call__(self, progress: Progress) -> None:
        """Take note of a report."""
        self._reports.append((time.perf_counter() - self._started_s, progress))

    def facts(self) -> dict[str, Any]:
        """Stages with their reports and seconds, recovered tasks, last metrics, ETA error.

        The clock stops now; to be called as soon as the run has ended.
        """
        total_s = time.perf_counter() - self._started_s
        stages: Counter[str] = Counter()
        seconds: defaultdict[str, float] = defaultdict(float)
        before_s = 0.0
        for elapsed_s, progress in self._reports:
            stages[progress.stage] += 1
            seconds[progress.stage] += elapsed_s - before_s
            before_s = elapsed_s
        newest = self._newest_metrics()
        fractions = [(elapsed_s, progress.fraction) for elapsed_s, progress in self._reports]
        return {
            "stages": {s: {"reports": stages[s], "wall_s": seconds[s]} for s in stages},
            "recovered_tasks": int(newest.pop("recovered_tasks", 0)),
            "worst_eta_error": worst_eta_error(fractions, total_s),
            "last_metrics": newest,
        }

    def _newest_metrics(self) -> dict[str, float]:
        """The newest value of every metric; reports of one stage lack those of another."""
        newest: dict[str, float] = {}
        for _, progress in self._reports:
            newest |= progress.metrics
        return newest


def worst_eta_error(reports: list[tuple[float, float]], total_s: float) -> float | None:
    """Largest relative error of elapsed / fraction as a prediction of the whole duration.

    Args:
        reports: (elapsed seconds, fraction done) of each report.
        total_s: what the run really took.

    Returns:
        max |elapsed / fraction - total| / total over the reports after the first tenth of the
        run's time, as a fraction; None if there is none.
    """
    errors = [
        abs(elapsed_s / fraction - total_s) / total_s
        for elapsed_s, fraction in reports
        if elapsed_s >= FIRST_SHARE * total_s and fraction > 0
    ]
    return max(errors, default=None)
