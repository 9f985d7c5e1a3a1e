"""Time until a teacher's task is recovered well: a meta-generator against a new generator.

    python -m benchmarks.recovery --pool DIR [--preset small] [--held-out 8]

A meta-generator is trained on a pool's teachers but the held-out ones. On each of those, images are
recovered with budgets of 1, 2, 3, ... steps, from the meta-generator and from a newly initialised
one, in turn. Criteria: the teacher gives 95 % of the images their label; its BatchNorm statistics
are met as well as by 200 steps of a new generator, or as by the meta-generator's own 5 and 10
steps. Judged on the images as recovered, without augmentation, outside the clock.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.curves import INVERSION, META, NEW, PUBLISHED, Point, criteria_of, mean_curve
from benchmarks.data import BenchmarkError
from benchmarks.machine import describe_code, describe_machine
from benchmarks.pool import find_pool, read_pool
from benchmarks.results import RESULTS, write_record
from ml.algorithms.free import draw_tasks, recover, update_meta_generator
from ml.algorithms.free_config import FreeConfig, configure
from ml.algorithms.free_run import Run, begin
from ml.errors import MlError
from ml.functional import Params, parameters_of
from ml.inversion.generator import Generator, new_generator
from ml.inversion.recover import Recovery, RecoveryConfig, recover_task, task_logits
from ml.inversion.statistics import batch_norm_gaps
from ml.types import Teacher

META_BUDGETS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
NEW_BUDGETS = (
    *(1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 100),
    200,
)
PUBLISHED_BUDGETS = (3, 5, 7, 10, 15)
INVERSION_BUDGETS = (200,)
INVERSION_WIDTH, INVERSION_BN_WEIGHT = 16, 1.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Contender:
    """Where a recovery starts, and how it goes on."""

    name: str
    generator: Generator
    phi: Params | None
    """None: drawn anew for each teacher."""
    config: RecoveryConfig
    budgets: tuple[int, ...]


def main() -> None:
    """Measure, write one record, and print the ratios."""
    try:
        measure(read_options())
    except (BenchmarkError, MlError) as error:
        raise SystemExit(f"The benchmark cannot go on.\n{error}") from error


def measure(options: argparse.Namespace) -> None:
    """What the command line asks for."""
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    pool = read_pool(find_pool(options.pool, options.pool_name), options.pool_name, device)
    config = configure({"preset": options.preset, **dict(options.set)})
    config = replace(config, outer_steps=options.outer_steps + 1, warm_up_steps=options.outer_steps)
    seen, held_out = pool.teachers[: -options.held_out], pool.teachers[-options.held_out :]
    run, training_s = meta_trained(seen, config, options.seed, device)
    contenders = contenders_of(run, config)
    curves: dict[str, list[list[Point]]] = {each.name: [] for each in contenders}
    for i, teacher in enumerate(held_out):
        for contender in contenders:
            curves[contender.name].append(curve_of(contender, teacher, options.seed + i, device))
        print(f"teacher {i + 1} of {len(held_out)}", flush=True)  # noqa: T201
    record = {
        "preset": options.preset,
        "settings": dict(options.set),
        "outer_steps": options.outer_steps,
        "training_s": training_s,
        "seed": options.seed,
        "pool": pool.facts(),
        "teachers_seen": len(seen),
        "teachers_held_out": len(held_out),
        "machine": describe_machine(device),
        "code": describe_code(),
        "clock": "wall" if device.type == "cuda" else "processor",
        "curves": {name: mean_curve(found) for name, found in curves.items()},
        "criteria": criteria_of(curves),
    }
    write_record(options.out / f"{options.name}.json", "recovery", record)
    for criterion in record["criteria"]:
        print(criterion)  # noqa: T201


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument(
        "--pool", type=Path, required=True, help="directory of the pool or of pools"
    )
    parser.add_argument("--pool-name", default="cifarfs_conv4")
    parser.add_argument("--preset", default="small", help="of FREE: how images are recovered")
    parser.add_argument("--set", type=_setting, action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--held-out", type=int, default=8, help="teachers to measure on")
    parser.add_argument("--outer-steps", type=int, default=100, help="of the meta-generator")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="recovery", help="of the record")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def meta_trained(
    teachers: Sequence[Teacher], config: FreeConfig, seed: int, device: torch.device
) -> tuple[Run, float]:
    """A run whose meta-generator has seen these teachers, and the seconds that took."""
    run = begin(teachers, config, torch.Generator().manual_seed(seed), device)
    started = clock(device)
    for _ in range(config.warm_up_steps):
        update_meta_generator(run, recover(run, draw_tasks(run), warm_up=True))
    return run, clock(device) - started


def contenders_of(run: Run, config: FreeConfig) -> list[Contender]:
    """The meta-generator; new ones with its settings, FREE's, and those of a slow inversion.

    The last is what FREE's peers do for each model (TGR, Wei et al. 2024): 200 steps with a
    BatchNorm term of weight 1, in float32 with black borders; of width 16 to be no slower than it
    need be.
    """
    published = configure({"preset": "published_code"})
    slow = replace(published, generator_width=INVERSION_WIDTH, bn_weight=INVERSION_BN_WEIGHT)
    alike = replace(config.recovery, candidates=1)  # nothing to choose from an untrained generator
    return [
        Contender(
            name=META,
            generator=run.generator,
            phi=run.phi.params,
            config=config.recovery,
            budgets=META_BUDGETS,
        ),
        Contender(name=NEW, generator=run.generator, phi=None, config=alike, budgets=NEW_BUDGETS),
        Contender(
            name=PUBLISHED,
            generator=generator_like(run, published, seed=0),
            phi=None,
            config=published.recovery,
            budgets=PUBLISHED_BUDGETS,
        ),
        Contender(
            name=INVERSION,
            generator=generator_like(run, slow, seed=0),
            phi=None,
            config=slow.recovery,
            budgets=INVERSION_BUDGETS,
        ),
    ]


def generator_like(run: Run, config: FreeConfig, *, seed: int) -> Generator:
    """A new generator for the run's canvas, of the config's size."""
    return new_generator(
        latent_dim=config.latent_dim + (config.n_way if config.conditional else 0),
        width=config.generator_width,
        image_size=run.canvas.image_size,
        channels=run.canvas.channels,
        rng=torch.Generator().manual_seed(seed),
    )


def curve_of(
    contender: Contender, teacher: Teacher, seed: int, device: torch.device
) -> list[Point]:
    """One recovery for each budget, all from the same start."""
    phi = contender.phi or parameters_of(reset(contender.generator, seed), device)
    points = []
    for steps in contender.budgets:
        config = replace(contender.config, steps=steps)
        classes = tuple(range(min(config.n_way, teacher.n_classes)))
        started = clock(device)
        recovery = recover_task(
            teacher,
            classes,
            contender.generator,
            phi,
            config,
            student=None,
            rng=torch.Generator().manual_seed(seed),
        )
        seconds = clock(device) - started
        points.append(judged(recovery, teacher, classes, steps=steps, seconds=seconds))
    return points


def reset(generator: Generator, seed: int) -> Generator:
    """A generator of the same shape with weights of its own."""
    return new_generator(
        latent_dim=generator.expand.in_features,
        width=generator.start_width // 2,
        image_size=generator.image_size,
        channels=generator.channels,
        rng=torch.Generator().manual_seed(seed),
    )


@torch.no_grad()
def judged(
    recovery: Recovery, teacher: Teacher, classes: tuple[int, ...], *, steps: int, seconds: float
) -> Point:
    """The quality of recovered images in their teacher's eyes."""
    with batch_norm_gaps(teacher.module) as gaps:
        logits = task_logits(teacher, recovery.images, classes)
    right = logits.argmax(dim=1) == recovery.labels
    return Point(
        steps=steps,
        seconds=seconds,
        accuracy=float(right.float().mean()),
        cross_entropy=float(F.cross_entropy(logits, recovery.labels)),
        gap=float(torch.stack(gaps).sum()),
    )


def clock(device: torch.device) -> float:
    """Seconds: of this process on a CPU, which others' load does not stretch; else of the wall."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


if __name__ == "__main__":
    main()
