"""What an answer costs: one meta-learner beside the pool's ensemble.

    python -m benchmarks.answering --pool DIR [--rounds 15]

The learner has the shape of preset small and next to no training, which costs its answers nothing.
All answer the same images by turns, round after round; a ratio is the geometric mean over rounds,
with its t interval. Memory is what loading a file and answering once adds to a process of its own,
the median of a few.
"""

import argparse
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.data import BenchmarkError
from benchmarks.intervals import geometric_mean
from benchmarks.machine import describe_code, describe_machine, peak_memory, reset_peak_memory
from benchmarks.pool import find_pool, read_pool
from benchmarks.results import RESULTS, write_record
from benchmarks.roofline import cost_of, seconds_of
from ml.algorithms import ALGORITHMS
from ml.delivered import load_delivered, save_delivered
from ml.errors import MlError
from ml.fewshot import Delivered, classifier_for, predict
from ml.types import Teacher

WAYS, QUERIES, PROCESSES = 5, 15, 3
LEARNER = "multi-teacher distillation, preset small"
BRIEF: Mapping[str, Any] = {"preset": "small", "images": 500, "steps": 2, "refine_steps": 0}
REQUESTS = ("1-shot", "5-shot", "one query")
"""Two whole requests of 15 queries a class, and a query to a classifier that is adapted already."""


def main() -> None:
    """Measure and write one record."""
    options = read_options()
    torch.set_num_threads(options.threads)
    try:
        record = measure(options)
    except (BenchmarkError, MlError) as error:
        raise SystemExit(f"The benchmark cannot go on.\n{error}") from error
    write_record(options.out / "answering.json", "answering", record)
    for each in record["subjects"]:
        print(each)  # noqa: T201


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answering", description=__doc__)
    parser.add_argument("--pool", type=Path, required=True, help="a pool, or the folder above it")
    parser.add_argument("--pool-name", default="cifarfs_conv4")
    parser.add_argument("--asked", default="10", help="numbers of teachers asked, with commas")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the record holds."""
    device = torch.device(options.device)
    pool = read_pool(find_pool(options.pool, options.pool_name), options.pool_name, device)
    asked = [int(each) for each in options.asked.split(",")]
    subjects = subjects_of(pool.teachers, asked, device)
    seconds = timed(subjects, device, options.rounds)
    with tempfile.TemporaryDirectory() as place:
        files = {name: Path(place) / f"{n}.safetensors" for n, name in enumerate(subjects)}
        for name, path in files.items():
            save_delivered(path, subjects[name])
        described = [
            {
                "name": name,
                "file_bytes": path.stat().st_size,
                "memory_bytes": in_its_own_process(path, options.device, options.threads),
                "operations_per_query": operations_per_query(subjects[name], device),
                "requests": {
                    request: ratio_of(seconds[name][request], seconds[LEARNER][request])
                    for request in REQUESTS
                },
            }
            for name, path in files.items()
        ]
    return {
        "pool": pool.facts(),
        "rounds": options.rounds,
        "asked": options.asked,
        "image_size": subjects[LEARNER].image_size,
        "machine": describe_machine(device),
        "code": describe_code(),
        "subjects": described,
    }


def subjects_of(
    teachers: Sequence[Teacher], asked: Sequence[int], device: torch.device
) -> dict[str, Delivered]:
    """The learner first, then ensembles that ask some of the pool, and all of it."""

    def built(algorithm: str, settings: Mapping[str, Any]) -> Delivered:
        chosen = ALGORITHMS[algorithm]
        rng = torch.Generator().manual_seed(0)
        return chosen.train(teachers, chosen.configure(settings), rng=rng, device=device)

    subjects = {LEARNER: built("multi_teacher", BRIEF)}
    for count in (*(each for each in asked if 0 < each < len(teachers)), 0):
        words = f"{count} of {len(teachers)}" if count else f"all {len(teachers)}"
        name = f"recipe ensemble, {words} teachers asked"
        subjects[name] = built("ensemble", {"teachers_asked": count})
    return subjects


# Time.


def timed(
    subjects: Mapping[str, Delivered], device: torch.device, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each request to each subject, one per round, all by turns."""
    works = {name: works_of(learner, device) for name, learner in subjects.items()}
    for each in works.values():
        for work in each.values():
            work()  # warm up
    seconds: dict[str, dict[str, list[float]]] = {
        name: {request: [] for request in REQUESTS} for name in subjects
    }
    for _ in range(rounds):
        for request in REQUESTS:
            for name in subjects:
                seconds[name][request].append(seconds_of(works[name][request], device))
    return seconds


def works_of(learner: Delivered, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Each request as a call."""

    def whole(n_shot: int) -> Callable[[], Tensor]:
        (support, labels), queries = support_of(learner, n_shot, device), noise_of(learner, device)
        return lambda: predict(learner, support, labels, queries, n_way=WAYS)

    return {"1-shot": whole(1), "5-shot": whole(5), "one query": adapted(learner, device)}


def adapted(learner: Delivered, device: torch.device) -> Callable[[], Tensor]:
    """One query to a classifier made of five images a class."""
    support, labels = support_of(learner, 5, device)
    classifier = classifier_for(learner, support, labels, n_way=WAYS)
    query = noise_of(learner, device)[:1]
    return lambda: classifier.answer(query).probabilities


def support_of(learner: Delivered, n_shot: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and their labels, class by class."""
    labels = torch.arange(WAYS, device=device).repeat_interleave(n_shot)
    return noise_of(learner, device)[: len(labels)], labels


def noise_of(learner: Delivered, device: torch.device) -> Tensor:
    """As many images of uniform noise as a request has queries: time depends on sizes alone."""
    side, rng = learner.image_size, torch.Generator().manual_seed(0)
    return torch.rand((WAYS * QUERIES, learner.channels, side, side), generator=rng).to(device)


def ratio_of(seconds: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """Times over the base's, round by round, and the median time."""
    ratio, interval = geometric_mean([a / b for a, b in zip(seconds, base, strict=True)])
    return {"ratio": ratio, "ratio_95": interval, "median_s": statistics.median(seconds)}


# Operations and memory.


def operations_per_query(learner: Delivered, device: torch.device) -> int:
    """Of matrix products and convolutions, for one query to an adapted classifier."""
    return cost_of(adapted(learner, device)).operations


def in_its_own_process(path: Path, device: str, threads: int) -> int:
    """`memory_of` where nothing else was loaded before: the median of PROCESSES new ones."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found = [pool.apply(memory_of, (path, device, threads)) for _ in range(PROCESSES)]
    return sorted(found)[PROCESSES // 2]


def memory_of(path: Path, device_name: str, threads: int) -> int:
    """Peak bytes that loading a file and answering one 5-shot request add to this process.

    On a GPU those of its tensors, on a CPU resident ones; what any first call of the libraries
    takes is there before, by a network of the same kind of layers.
    """
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    torch.nn.functional.conv2d(torch.rand(1, 3, 32, 32), torch.rand(8, 3, 3, 3)).relu_()
    reset_peak_memory(device)
    key = "peak_gpu_bytes" if device.type == "cuda" else "peak_resident_bytes"
    before = peak_memory(device)[key]
    works_of(load_delivered(path, device), device)["5-shot"]()
    after = peak_memory(device)[key]
    assert before is not None
    assert after is not None
    return after - before


if __name__ == "__main__":
    main()
