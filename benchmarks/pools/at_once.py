"""How many classifiers are best trained together: measured in steps per second.

    python -m benchmarks.pools.at_once --backbone conv4 --counts 1,4,8

Prints JSON. A `ratio` is the seconds that one model's step takes when trained alone over those
when trained together: above 1, together is faster. The counts take turns, round by round, and the
median over the rounds is given, since other programs may be at work on the machine.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.data import BenchmarkError
from benchmarks.pools.config import TrainingConfig
from benchmarks.pools.progress import say
from benchmarks.pools.stacked import stack
from benchmarks.pools.training import fresh, make_optimizer, step
from ml.errors import MlError

COUNTS = (1, 4, 8)
ROUNDS, STEPS = 3, 2
FASTEST_ON_CPU = 1
"""As measured on two cores, one thread: docs/algorithms/pools.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is trained, as far as its speed depends on it."""

    backbone: str
    n_classes: int
    channels: int
    image_size: int


def choose_at_once(shape: Shape, config: TrainingConfig, device: torch.device) -> int:
    """The number of models to train together: on a CPU as measured before, elsewhere tried now."""
    if device.type == "cpu":
        return FASTEST_ON_CPU
    seconds = measure(shape, config, device, counts=COUNTS, rounds=ROUNDS)
    return min(seconds, key=lambda count: seconds[count])


def measure(
    shape: Shape,
    config: TrainingConfig,
    device: torch.device,
    *,
    counts: Sequence[int],
    rounds: int,
) -> Mapping[int, float]:
    """Seconds per step and model on noise, by the number of models that are trained together."""
    runs = {count: _stepper(shape, config, device, count) for count in counts}
    taken: dict[int, list[float]] = {count: [] for count in counts}
    for warm in (False, *(True,) * rounds):
        for count, run in runs.items():
            started = time.perf_counter()
            run()
            if warm:
                taken[count].append((time.perf_counter() - started) / (STEPS * count))
    return {count: statistics.median(each) for count, each in taken.items()}


def _stepper(
    shape: Shape, config: TrainingConfig, device: torch.device, count: int
) -> Callable[[], None]:
    """A function that trains so many models for a few steps and waits for the result."""
    side = shape.image_size
    modules = [
        fresh(
            shape.backbone,
            n_classes=shape.n_classes,
            channels=shape.channels,
            image_size=side,
            seed=seed,
        )
        for seed in range(count)
    ]
    models = stack(modules, device)
    optimizer, _ = make_optimizer(
        list(models.parameters.values()), config.optimizer_of(shape.backbone)
    )
    rng = torch.Generator().manual_seed(0)
    size = (count, config.batch_size)
    images = torch.randn((*size, shape.channels, side, side), generator=rng).to(device)
    labels = torch.randint(shape.n_classes, size, generator=rng).to(device)

    def run() -> None:
        for _ in range(STEPS):
            losses = step(models, optimizer, images, labels, config)
        losses.cpu()  # waits until the device is done

    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON document; the process's exit code."""
    options = read_options(arguments)
    torch.set_num_threads(options.threads)
    shape = Shape(backbone=options.backbone, n_classes=5, channels=3, image_size=options.image_size)
    config = TrainingConfig(batch_size=options.batch_size)
    try:
        seconds = measure(
            shape,
            config,
            torch.device(options.device),
            counts=options.counts,
            rounds=options.rounds,
        )
    except (BenchmarkError, MlError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    alone = seconds[options.counts[0]]
    rows = [
        {"at_once": n, "seconds_per_model_step": round(s, 5), "ratio": round(alone / s, 3)}
        for n, s in seconds.items()
    ]
    facts = {
        "backbone": shape.backbone,
        "image_size": shape.image_size,
        "batch": config.batch_size,
        "device": options.device,
        "threads": options.threads,
        "torch": torch.__version__,
        "rounds": options.rounds,
        "steps_per_round": STEPS,
    }
    say(json.dumps({**facts, "rows": rows}, indent=1))
    return 0


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; 1 is always among the counts, and first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pools.at_once")
    parser.add_argument("--backbone", default="conv4")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        options.counts = sorted({1, *map(int, options.counts.split(","))})
    except ValueError:
        parser.error("--counts takes whole numbers, as in 1,4,8")
    if min(options.counts) < 1 or options.rounds < 1 or options.threads < 1:
        parser.error("--counts, --rounds and --threads must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
