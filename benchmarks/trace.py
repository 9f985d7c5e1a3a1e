"""What a meta-training run tells on its way, kept as facts: stages, counts, quality of its ETA."""

import time
from collections import Counter, defaultdict
from typing import Any

from ml.types import Progress

FIRST_SHARE = 0.1  # of the run: before, the ETA is not judged


class Trace:
    """Listens to a run's reports; called with each, asked for the facts at the end."""

    def __init__(self) -> None:
        """Start the clocks."""
        self._started_s, self._started_cpu_s = time.perf_counter(), time.process_time()
        self._reports: list[tuple[float, float, Progress]] = []

    def __call__(self, progress: Progress) -> None:
        """Take note of a report."""
        self._reports.append((*self._elapsed(), progress))

    def facts(self) -> dict[str, Any]:
        """Stages with their reports and seconds, recovered tasks, last metrics, ETA errors.

        The clocks stop now; to be called as soon as the run has ended. The ETA is judged by the
        wall and by this process's processor seconds, which a busy machine does not change.
        """
        total_s, total_cpu_s = self._elapsed()
        stages: Counter[str] = Counter()
        seconds: defaultdict[str, float] = defaultdict(float)
        before_s = 0.0
        for elapsed_s, _, progress in self._reports:
            stages[progress.stage] += 1
            seconds[progress.stage] += elapsed_s - before_s
            before_s = elapsed_s
        newest = self._newest_metrics()
        by_wall = [(wall_s, progress.fraction) for wall_s, _, progress in self._reports]
        by_cpu = [(cpu_s, progress.fraction) for _, cpu_s, progress in self._reports]
        return {
            "stages": {s: {"reports": stages[s], "wall_s": seconds[s]} for s in stages},
            "recovered_tasks": int(newest.pop("recovered_tasks", 0)),
            "worst_eta_error": worst_eta_error(by_wall, total_s),
            "worst_eta_error_cpu": worst_eta_error(by_cpu, total_cpu_s),
            "last_metrics": newest,
        }

    def _elapsed(self) -> tuple[float, float]:
        """Wall and processor seconds."""
        return time.perf_counter() - self._started_s, time.process_time() - self._started_cpu_s

    def _newest_metrics(self) -> dict[str, float]:
        """The newest value of every metric; reports of one stage lack those of another."""
        newest: dict[str, float] = {}
        for _, _, progress in self._reports:
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
