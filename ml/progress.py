"""How much of a run is done, estimated from what its steps have cost so far."""

import time
from collections.abc import Callable, Mapping

import torch

TRIALS = 2


def clock_of(device: torch.device) -> Callable[[], float]:
    """The seconds that steps on a device are weighed by.

    On a CPU those that the calling thread computed: what else the machine does changes how long
    all steps take, not how they compare. Elsewhere those of the wall, since the thread only waits.
    """
    return time.thread_time if device.type == "cpu" else time.perf_counter


class WorkMeter:
    """Turns counts of unequal steps into the share of a run's work that is done.

    A kind of step is weighed by the mean of its own durations once it has been seen; until then by
    what it took in a rehearsal, or else by its prior relative to those seen without one. So
    elapsed * (1 - f) / f predicts the rest.
    Only what is reported depends on the clock, never what is computed.
    """

    def __init__(
        self,
        planned: Mapping[str, int],
        priors: Mapping[str, float],
        device: torch.device,
        *,
        started_s: float | None = None,
    ) -> None:
        """Start the clock.

        Args:
            planned: how many steps of each kind the run has.
            priors: what one step of each kind is expected to cost, in any common unit.
            device: where the steps compute; the thread that counts them is the one that takes them.
            started_s: what `clock_of` the device read when the run began; None is now.
        """
        self._planned, self._priors = dict(planned), dict(priors)
        self._done = dict.fromkeys(planned, 0)
        self._measured = dict.fromkeys(planned, 0)
        self._spent_s = dict.fromkeys(planned, 0.0)
        self._rehearsed_s: dict[str, float] = {}
        self._clock = clock_of(device)
        self._last_s = self._clock() if started_s is None else started_s
        self._prepared_s = 0.0
        self._highest = 0.0

    def skip(self, kind: str, count: int) -> None:
        """Count steps that an earlier process has done."""
        self._done[kind] += count

    def rehearsed(self, seconds: Mapping[str, float], *, began_s: float | None = None) -> None:
        """Learn what a step of some kinds took in a trial, and that the time since was for that.

        It counts as work that is done: a short run that prepares for long is not a slow one.

        Args:
            seconds: of one step, by kind.
            began_s: what `clock_of` the device read when the trials began, where that was in the
                middle of a step; None is the end of the last one, or the start.
        """
        self._rehearsed_s.update(seconds)
        took_s = self._clock() - (self._last_s if began_s is None else began_s)
        self._prepared_s += took_s
        self._last_s += took_s

    def lap(self, kind: str) -> float:
        """Count one step that has just ended; returns the fraction done, which never falls."""
        now_s = self._clock()
        self._spent_s[kind] += now_s - self._last_s
        self._last_s = now_s
        self._measured[kind] += 1
        self._done[kind] = min(self._done[kind] + 1, self._planned[kind])
        costs = self._costs()
        total = self._prepared_s + sum(costs[kind] * n for kind, n in self._planned.items())
        done = self._prepared_s + sum(costs[kind] * n for kind, n in self._done.items())
        self._highest = max(self._highest, min(done / total, 1.0) if total else 1.0)
        return self._highest

    def _costs(self) -> dict[str, float]:
        seen = [kind for kind, n in self._measured.items() if n and kind not in self._rehearsed_s]
        expected = sum(self._priors[kind] * self._measured[kind] for kind in seen)
        unit_s = sum(self._spent_s[kind] for kind in seen) / expected if expected else 1.0
        unseen = {kind: prior * unit_s for kind, prior in self._priors.items()} | self._rehearsed_s
        return {
            kind: self._spent_s[kind] / n if n else unseen[kind]
            for kind, n in self._measured.items()
        }


def fastest(trial: Callable[[], object], device: torch.device) -> float:
    """Seconds (`clock_of`) of the fastest of TRIALS calls: the first one still prepares.

    The trial should end with a number read, so that its device has finished it by then.
    """
    clock, seconds = clock_of(device), list[float]()
    for _ in range(TRIALS):
        started_s = clock()
        trial()
        seconds.append(clock() - started_s)
    return min(seconds)
