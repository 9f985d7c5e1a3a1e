"""A run's progress as events and an ETA, written at most about once a second."""

import logging
import time

from sqlalchemy.exc import OperationalError

from ml.types import Progress
from pool import logs
from pool.database import jobs
from pool.domain import JobRun
from worker.context import JobContext

log = logging.getLogger(__name__)

LEAST_BETWEEN_S = 1.0
SHARE_OF_RUN = 1 / 400  # so that a run of hours keeps hundreds of points, not tens of thousands


class ProgressLog:
    """Called once per step by an algorithm; raises Canceled when the job should stop."""

    def __init__(self, context: JobContext, run: JobRun) -> None:
        self._context = context
        self._run = run
        self._started = self._written = time.monotonic()
        self._first: tuple[float, float] | None = None
        self.last: Progress | None = None
        self._written_stage: str | None = None

    def __call__(self, progress: Progress) -> None:
        """Note where the run stands; write it down if it is time."""
        self._context.check_stop()
        self.last = progress
        now = time.monotonic()
        if self._first is None:
            self._first = (now, progress.fraction)
        pause = max(LEAST_BETWEEN_S, (now - self._started) * SHARE_OF_RUN)
        if now - self._written < pause and progress.stage == self._written_stage:
            return
        self._written, self._written_stage = now, progress.stage
        self._write(progress)

    @property
    def seconds(self) -> float:
        """Since this attempt began to compute."""
        return time.monotonic() - self._started

    def eta_s(self, progress: Progress) -> float | None:
        """Seconds left, if the rest goes as fast as it went since this attempt's first report.

        What came before that report was loading models, or an earlier attempt's work.
        """
        if self._first is None or progress.fraction <= self._first[1]:
            return None
        started, fraction = self._first
        elapsed_s = time.monotonic() - started
        return elapsed_s * (1 - progress.fraction) / (progress.fraction - fraction)

    def _write(self, progress: Progress) -> None:
        eta_s = self.eta_s(progress)
        payload = {
            "stage": progress.stage,
            "step": progress.step,
            "total_steps": progress.total_steps,
            "fraction": round(progress.fraction, 4),
            "eta_s": None if eta_s is None else round(eta_s, 1),
            "metrics": {name: round(value, 6) for name, value in progress.metrics.items()},
        }
        try:
            with self._context.database.write() as session:
                jobs.record(
                    session,
                    self._run,
                    "progress",
                    payload,
                    progress=progress.fraction,
                    eta_s=eta_s,
                    stage=progress.stage,
                )
        except OperationalError as error:
            # A database that is away for a moment must not end a build of hours.
            log.warning("cannot write the progress", extra=logs.failure(error))
