"""What a terminal or a log is told while a pool is being made: plain lines."""

import time
from collections.abc import Callable

QUIET_S = 15.0
"""Within a model, a line is printed when none was for so long."""

Say = Callable[[str], None]


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


class PoolProgress:
    """Counts models and estimates when the last one will be done."""

    def __init__(
        self, *, total: int, done: int, say: Say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._done, self._before = total, done, done
        self._say, self._clock = say, clock
        self._started = self._told_at = clock()

    def model_done(self, name: str, note: str) -> None:
        """One more model is in the pool."""
        self._done += 1
        self._told_at = self._clock()
        per_minute = (self._done - self._before) / max(self._told_at - self._started, 1e-9) * 60
        left = (self._total - self._done) / per_minute
        self._say(
            f"model {self._done} of {self._total}  {name}  {note}  "
            f"{per_minute:.1f} models/min  ETA {in_words(left * 60)}"
        )

    def epoch_done(self, group: str, epoch: int, epochs: int, loss: float) -> None:
        """A model, or several at once, have seen all their images once more."""
        if self._clock() - self._told_at < QUIET_S:
            return
        self._told_at = self._clock()
        self._say(f"  {group}: epoch {epoch} of {epochs}, loss {loss:.3f}")


def in_words(seconds: float) -> str:
    """A duration for people."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
