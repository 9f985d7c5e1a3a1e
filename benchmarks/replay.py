"""Second-order MAML replay: a batch of episodes in one call against a loop over them.

    python -m benchmarks.replay [--episodes 10] [--device cuda]

Images are noise: the time depends on their number and size alone. The two are compared in float64
as well, where the difference of their gradients is not rounding's.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.intervals import geometric_mean
from benchmarks.machine import describe_code, describe_machine
from benchmarks.results import RESULTS, write_record
from benchmarks.roofline import seconds_of
from ml.backbones import Backbone, build, initialize
from ml.functional import (
    Params,
    batch_normalised,
    gradients,
    leaves,
    norms_composed,
    parameters_of,
    summed,
)
from ml.replay import maml_adapted, maml_query_logits, maml_query_logits_at_once
from ml.types import Episode, normalize

WAYS, QUERIES, STEPS, LR = 5, 15, 5, 0.01
MEAN, STD = (0.5,) * 3, (0.5,) * 3


def main() -> None:
    """Measure and write one record."""
    options = read_options()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    record = {
        "backbone": options.backbone,
        "image_size": options.image_size,
        "episodes": options.episodes,
        "rounds": options.rounds,
        "machine": describe_machine(device),
        "code": describe_code(),
        "cases": [case_of(n_shot, options, device) for n_shot in (1, 5)],
    }
    write_record(options.out / f"{options.name}.json", "replay", record)
    for case in record["cases"]:
        print(case)  # noqa: T201


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--backbone", default="conv4")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="replay", help="of the record")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def case_of(n_shot: int, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Ratio of times with its interval, and the largest difference of the gradients."""
    works = works_of(n_shot, options, device, torch.float32)
    for work in works:
        work()  # warm up
    rounds = [[seconds_of(work, device) for work in works] for _ in range(options.rounds)]
    ratio, interval = geometric_mean([loop / at_once for loop, at_once in rounds])
    loop, at_once = (work() for work in works_of(n_shot, options, device, torch.float64))
    return {
        "n_shot": n_shot,
        "speed_up": ratio,
        "speed_up_95": interval,
        "loop_s": statistics.fmean(each[0] for each in rounds),
        "at_once_s": statistics.fmean(each[1] for each in rounds),
        "largest_difference": max(float((loop[n] - at_once[n]).abs().max()) for n in loop),
        "largest_gradient": max(float(loop[n].abs().max()) for n in loop),
    }


def works_of(
    n_shot: int, options: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> list[Callable[[], Params]]:
    """The loop and the one call, each giving the summed gradients of all episodes."""
    student, composed = (new_student(options, device, dtype) for _ in range(2))
    norms_composed(composed)
    params = leaves(parameters_of(student, device))
    episodes = noise_episodes(n_shot, options, device, dtype)

    def scaled(images: torch.Tensor) -> torch.Tensor:
        return normalize(images, MEAN, STD)

    def loop() -> Params:
        slopes = []
        for episode in episodes:
            adapted = maml_adapted(
                student, params, episode, scaled, steps=STEPS, lr=LR, second_order=True
            )
            logits = maml_query_logits(student, adapted, episode, scaled)
            slopes.append(gradients(F.cross_entropy(logits, episode.query_labels), params))
        return summed(slopes)

    def at_once() -> Params:
        answers = maml_query_logits_at_once(
            composed, params, episodes, scaled, steps=STEPS, lr=LR, second_order=True
        )
        return gradients(total_loss(answers, episodes), params)

    return [loop, at_once]


def total_loss(answers: torch.Tensor, episodes: Sequence[Episode]) -> torch.Tensor:
    """Sum over episodes of their cross-entropy."""
    losses = [
        F.cross_entropy(logits, episode.query_labels)
        for logits, episode in zip(answers, episodes, strict=True)
    ]
    return torch.stack(losses).sum()


def new_student(options: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> Backbone:
    """A learner with batch statistics."""
    student = build(options.backbone, n_classes=WAYS, channels=3, image_size=options.image_size)
    initialize(student, torch.Generator().manual_seed(0))
    return batch_normalised(student.to(device, dtype))


def noise_episodes(
    n_shot: int, options: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> list[Episode]:
    """Episodes of uniform noise."""
    rng = torch.Generator().manual_seed(1)
    size = (3, options.image_size, options.image_size)

    def noise(n: int) -> torch.Tensor:
        return torch.rand((n, *size), generator=rng).to(device, dtype)

    labels = torch.arange(WAYS, device=device)
    return [
        Episode(
            support_images=noise(WAYS * n_shot),
            support_labels=labels.repeat_interleave(n_shot),
            query_images=noise(WAYS * QUERIES),
            query_labels=labels.repeat_interleave(QUERIES),
            n_way=WAYS,
        )
        for _ in range(options.episodes)
    ]


if __name__ == "__main__":
    main()
