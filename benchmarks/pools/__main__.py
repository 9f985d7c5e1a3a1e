"""`python -m benchmarks.pools`: train a pool of classifiers to upload, or to measure with.

Each model is written as NAME.safetensors with its manifest NAME.json, so that
`make demo POOL=DIR DATA=file.npz` takes the directory as it is. pool.json in it holds the plan,
every model's accuracy, and which models are corrupt. An interrupted run goes on when the same
command is given again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.data import BenchmarkError
from benchmarks.pools.config import NORMALIZATIONS, PoolConfig, TrainingConfig, Values
from benchmarks.pools.factory import Execution, make_pool
from benchmarks.pools.progress import say
from benchmarks.pools.sources import read_sources
from ml.errors import MlError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the pool; the process's exit code."""
    options = read_options(arguments)
    torch.set_num_threads(options.threads)
    try:
        config = config_of(options)
        execution = Execution(device=device_of(options.device), at_once=options.at_once)
        sources = read_sources(options.data, config, foreign=options.foreign)
        make_pool(config, sources, options.out, execution=execution, say=say)
    except (BenchmarkError, MlError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        say(
            f"\nInterrupted. The models that are done stay in {options.out}; "
            "give the same command again to go on."
        )
        return INTERRUPTED
    say(f"The pool is complete: {options.out}")
    return 0


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pools", description=__doc__)
    add = parser.add_argument
    path = "an .npz file or a folder with a folder of images per class, as PATH or NAME=PATH"
    add("--data", action="append", required=True, metavar="SOURCE", help=f"{path}; repeatable")
    add("--out", type=Path, required=True, metavar="DIR", help="where the pool is written")
    add("--models", type=int, help="default: 100; with disjoint classes, one per group")
    add("--ways", type=int, default=5, help="classes per model")
    add("--backbone", default="conv4", help="one or more, with commas; drawn per model")
    add("--image-size", type=int, default=32, help="side length in pixels")
    add("--channels", type=int, help="1 or 3 for all; default: as each source has them")
    add("--images-per-class", type=int, help="use the first so many only")
    add("--normalization", help=f"{', '.join(NORMALIZATIONS)}, or M,M,M/S,S,S; default: by source")
    add("--epochs", type=int, default=60)
    add("--flip", action="store_true", help="mirror training images at random")
    add("--classes", choices=("overlapping", "disjoint"), default="overlapping")
    add("--label-noise", type=float, default=0.0, help="share of training labels that are wrong")
    add("--fake", type=float, default=0.0, help="share of models that are untrained")
    add("--mislabelled", type=float, default=0.0, help="share that learnt another source's classes")
    add(
        "--foreign",
        action="append",
        default=[],
        metavar="SOURCE",
        help="what mislabelled models learn, like --data; default: the pool's other sources",
    )
    add("--at-once", default="auto", help="models trained together, or auto: what is fastest")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1, help="of the CPU")
    options = parser.parse_args(arguments)
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    if options.at_once != "auto" and not (options.at_once.isdecimal() and int(options.at_once)):
        parser.error("--at-once takes a whole number from 1, or auto")
    options.at_once = None if options.at_once == "auto" else int(options.at_once)
    return options


def config_of(options: argparse.Namespace) -> PoolConfig:
    """The settings that a command line means.

    Raises:
        BenchmarkError: if they make no pool.
    """
    return PoolConfig(
        models=options.models,
        ways=options.ways,
        backbones=tuple(filter(None, options.backbone.split(","))),
        classes=options.classes,
        image_size=options.image_size,
        channels=options.channels,
        normalization=parse_normalization(options.normalization),
        images_per_class=options.images_per_class,
        fake=options.fake,
        mislabelled=options.mislabelled,
        seed=options.seed,
        training=TrainingConfig(
            epochs=options.epochs, flip=options.flip, label_noise=options.label_noise
        ),
    )


def parse_normalization(text: str | None) -> tuple[Values, Values] | None:
    """A name, or means and standard deviations with a slash between.

    Raises:
        BenchmarkError: if it is neither, or a standard deviation is not positive.
    """
    if text is None or text in NORMALIZATIONS:
        return None if text is None else NORMALIZATIONS[text]
    try:
        mean, std = (tuple(map(float, part.split(","))) for part in text.split("/"))
    except ValueError as error:
        raise BenchmarkError(
            f"--normalization takes {', '.join(NORMALIZATIONS)}, or numbers as in 0.5/0.25."
        ) from error
    if not min(std) > 0:
        raise BenchmarkError("--normalization: every standard deviation must be positive.")
    return mean, std


def device_of(name: str) -> torch.device:
    """A device that computes.

    Raises:
        BenchmarkError: if there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BenchmarkError(f"There is no device {name!r} here: choose --device cpu.") from error
    return device


if __name__ == "__main__":
    sys.exit(main())
