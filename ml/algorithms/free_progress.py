"""How much of a run of FREE is done, and what is told about it."""

from collections.abc import Sequence

from ml.algorithms.free_run import Run
from ml.inversion.recover import Recovery
from ml.progress import WorkMeter
from ml.types import Progress

WARM_UP, MAIN, REFRESH = "warm-up", "recover, align, replay", "refresh memory"
"""Stages, as they are told."""
RECOVER, LEARN = "recover", "align, replay"
"""The two parts of a main step, which the meter weighs apart."""
USUAL_SHARE = 0.7  # of the batches that a step may replay


def work_meter(run: Run, learning_s: float, *, started_s: float) -> WorkMeter:
    """Plan the steps of each kind; before they are seen, recoveries count as long as each other.

    Args:
        run: its config and memory count.
        learning_s: what aligning and replaying take in a main step, from a rehearsal.
        started_s: what the device's clock read when the run began.
    """
    config = run.config
    boundaries = range(config.save_every, config.outer_steps, config.save_every)
    tasks = {WARM_UP: config.tasks_per_step, RECOVER: config.tasks_per_step, REFRESH: 1, LEARN: 0}
    planned = {
        WARM_UP: config.warm_up_steps,
        RECOVER: config.outer_steps - config.warm_up_steps,
        LEARN: config.outer_steps - config.warm_up_steps,
        REFRESH: sum(_remembered_at(run, step) for step in boundaries),
    }
    priors = {kind: float(tasks[kind]) for kind in planned}
    meter = WorkMeter(planned, priors, run.device, started_s=started_s)
    meter.rehearsed({LEARN: learning_s})
    return meter


def skip_done(run: Run, meter: WorkMeter) -> None:
    """Tell the meter what an earlier process did."""
    config = run.config
    main_steps = max(run.step - config.warm_up_steps, 0)
    meter.skip(WARM_UP, min(run.step, config.warm_up_steps))
    for kind in (RECOVER, LEARN):
        meter.skip(kind, main_steps)
    earlier = range(config.save_every, run.step, config.save_every)
    meter.skip(REFRESH, sum(_remembered_at(run, step) for step in earlier))


def _remembered_at(run: Run, step: int) -> int:
    """Tasks in memory after so many steps."""
    kept = run.config.tasks_per_step if run.config.memory == "all" else 1
    return min(max(step - run.config.warm_up_steps, 0) * kept, run.memory.capacity)


def recovery_metrics(run: Run, recoveries: Sequence[Recovery], seconds: float) -> dict[str, float]:
    """How well a step's tasks were recovered, and how fast; counts them."""
    run.recovered_tasks += len(recoveries)
    return {
        "recovery_loss": sum(r.loss for r in recoveries) / len(recoveries),
        "recovery_accuracy": sum(r.accuracy for r in recoveries) / len(recoveries),
        "recovered_tasks_per_s": len(recoveries) / seconds,
    }


def progress_of(run: Run, stage: str, fraction: float, metrics: dict[str, float]) -> Progress:
    """What a report says."""
    return Progress(
        stage=stage,
        step=run.step,
        total_steps=run.config.outer_steps,
        fraction=fraction,
        metrics={**metrics, "recovered_tasks": float(run.recovered_tasks)},
    )
