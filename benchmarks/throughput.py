"""Recovered tasks per second: one teacher at a time as published, and many at once.

    python -m benchmarks.throughput --pool DIR [--at-once 1,2,4,8] [--device cuda]

Everything runs side by side, round after round; a ratio is the mean over rounds, with its t
interval. Memory is the peak above what the process held before (the GPU's, on a GPU).
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import BenchmarkError
from benchmarks.intervals import geometric_mean
from benchmarks.machine import describe_code, describe_machine, peak_memory, reset_peak_memory
from benchmarks.pool import find_pool, read_pool
from benchmarks.results import RESULTS, write_record
from benchmarks.roofline import Cost, Rates, cost_of, measured_rates, seconds_of
from ml.algorithms.free_config import FreeConfig, configure
from ml.algorithms.free_run import begin
from ml.errors import MlError
from ml.inversion.recover import recover_task
from ml.inversion.stacked import recover_tasks
from ml.types import Teacher

BASE = "one at a time, published settings"
PUBLISHED = {"preset": "published_code"}
HALF = {**PUBLISHED, "precision": "bfloat16"}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Way:
    """One way to recover tasks."""

    name: str
    config: FreeConfig
    at_once: int
    """Tasks per call; 0 is one call of recover_task, without stacking."""

    @property
    def tasks(self) -> int:
        """Tasks that one call recovers."""
        return max(self.at_once, 1)


def main() -> None:
    """Measure and write one record."""
    try:
        measure(read_options())
    except (BenchmarkError, MlError) as error:
        raise SystemExit(f"The benchmark cannot go on.\n{error}") from error


def measure(options: argparse.Namespace) -> None:
    """What the command line asks for."""
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    pool = read_pool(find_pool(options.pool, options.pool_name), options.pool_name, device)
    ways = ways_of(options.at_once, stack_reduced=device.type == "cuda")
    works = {way.name: work_of(way, pool.teachers, device) for way in ways}
    memory = {way.name: memory_of(works[way.name], device) for way in ways}  # warms up, too
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            seconds[way.name].append(seconds_of(works[way.name], device) / way.tasks)
    operations = cost_of(works[BASE]).operations  # the counter takes grouped convolutions for more
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    rates = {name: measured_rates(device, dtype) for name, dtype in dtypes.items()}
    record = {
        "settings": PUBLISHED,
        "pool": pool.facts(),
        "rounds": options.rounds,
        "machine": describe_machine(device),
        "code": describe_code(),
        "ways": [
            summary_of(way, seconds, memory[way.name], cost_of(works[way.name]), operations, rates)
            for way in ways
        ],
        "rates": {name: asdict(found) for name, found in rates.items()},
    }
    write_record(options.out / f"{options.name}.json", "throughput", record)
    for each in record["ways"]:
        print(each)  # noqa: T201


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument(
        "--pool", type=Path, required=True, help="directory of the pool or of pools"
    )
    parser.add_argument("--pool-name", default="cifarfs_conv4")
    parser.add_argument("--at-once", type=_numbers, default=(1, 2, 4, 8), help="tasks in a stack")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="throughput", help="of the record")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def ways_of(at_once: Sequence[int], *, stack_reduced: bool) -> list[Way]:
    """As published, in bfloat16, and in stacks; stacks in bfloat16 where they are fast."""
    published, reduced = configure(PUBLISHED), configure(HALF)
    stacked = reduced if stack_reduced else published
    return [
        Way(name=BASE, config=published, at_once=0),
        Way(name="one at a time, bfloat16", config=reduced, at_once=0),
        *(Way(name=f"{n} in a stack", config=stacked, at_once=n) for n in at_once),
    ]


def work_of(way: Way, teachers: Sequence[Teacher], device: torch.device) -> Callable[[], object]:
    """A call that recovers the way's tasks, always from the same start."""
    config = way.config
    run = begin(teachers, config, torch.Generator().manual_seed(0), device)
    chosen = [teachers[i % len(teachers)] for i in range(way.tasks)]
    classes = [tuple(range(min(config.n_way, each.n_classes))) for each in chosen]
    recovery = replace(config.recovery, accumulate="last")

    def one() -> object:
        rng = torch.Generator().manual_seed(1)
        return recover_task(
            chosen[0], classes[0], run.generator, run.phi.params, recovery, student=None, rng=rng
        )

    def many() -> object:
        rng = torch.Generator().manual_seed(1)
        return recover_tasks(
            chosen, classes, run.generator, run.phi.params, recovery, student=None, rng=rng
        )

    return many if way.at_once else one


def memory_of(work: Callable[[], object], device: torch.device) -> int:
    """Peak bytes above what was held before."""
    kind = "peak_gpu_bytes" if device.type == "cuda" else "peak_resident_bytes"
    reset_peak_memory(device)
    before = peak_memory(device)[kind] or 0
    work()
    return (peak_memory(device)[kind] or 0) - before


def summary_of(
    way: Way,
    seconds: dict[str, list[float]],
    memory_bytes: int,
    cost: Cost,
    operations_per_task: int,
    rates: Mapping[str, Rates],
) -> dict[str, Any]:
    """Ratio to the base, seconds, memory, and what the roof would allow."""
    own, base = seconds[way.name], seconds[BASE]
    ratio, interval = geometric_mean([b / a for a, b in zip(own, base, strict=True)])
    cost = replace(cost, operations=operations_per_task * way.tasks)
    roof = rates["bfloat16" if way.config.precision == "bfloat16" else "float32"]
    return {
        "name": way.name,
        "precision": way.config.precision,
        "tasks": way.tasks,
        "speed_up": ratio,
        "speed_up_95": interval,
        "seconds_per_task": statistics.fmean(own),
        "memory_bytes": memory_bytes,
        "operations_per_task": operations_per_task,
        "bytes_per_task": cost.bytes_moved / way.tasks,
        "least_seconds_per_task": roof.least_seconds(cost) / way.tasks,
    }


if __name__ == "__main__":
    main()
