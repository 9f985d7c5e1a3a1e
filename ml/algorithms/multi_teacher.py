"""One network that answers as the whole pool does: multi-teacher distillation without data.

Pictures are drawn by chance and moved towards what the teachers' BatchNorm layers remember; every
teacher answers every picture; one network learns to place the pictures as all answers together do.
Few-shot requests are then answered by nearest centroid in that space. What is distilled are the
answers (Hellinger vectors), not the features: docs/algorithms/multi_teacher.md says why, and what
each part is worth.

Dims: I images in all, C channels, S side length, P axes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.algorithms.multi_teacher_config import PRESETS, MultiTeacherConfig, configure
from ml.algorithms.multi_teacher_run import (
    ASK,
    DISTIL,
    DRAW,
    ENCODER,
    HEAD,
    PLACE,
    SETTLE,
    STEPS_A_REPORT,
    Run,
    batch_sizes,
    begin,
    image_count,
    learner_of,
    most_numbers,
    new_theta,
    restore,
    said_width,
    state_of,
    tell,
)
from ml.answers import answers_from, axes_seconds, features_of, principal_axes, side_by_side
from ml.drawing import draw_images
from ml.functional import apply, gradients
from ml.inversion.precision import computing_in
from ml.inversion.refine import refine
from ml.learner import MetaLearner, Offer
from ml.progress import clock_of, fastest
from ml.types import Report, SaveState, Teacher, TrainingState, discard, silent

__all__ = ["PRESETS", "MultiTeacherConfig", "configure", "train"]

WARM_UP = 0.2  # share of the steps in which the step size rises


# Images that no one took.


def make_images(run: Run) -> Tensor:
    """All pictures, drawn and refined, uint8 on the CPU, (I, C, S, S)."""
    config, canvas = run.config, run.canvas
    rng = torch.Generator().manual_seed(run.image_seed)
    batches: list[Tensor] = []
    for count in batch_sizes(image_count(config, canvas), config.batch_images):
        drawn = draw_images(count, image_size=canvas.image_size, channels=canvas.channels, rng=rng)
        lookers = torch.randperm(len(run.teachers), generator=rng)[: config.refine_teachers]
        refined = refine(
            drawn.to(run.device),
            [run.teachers[place] for place in lookers.tolist()],
            config.refinement,
            rng=rng,
        )
        batches.append((refined.images * 255.0).round().to(torch.uint8).cpu())
        if len(batches) == 1:
            learn_costs(run)
        gaps = {"bn_gap_drawn": refined.gap_before, "bn_gap_refined": refined.gap_after}
        tell(run, DRAW, gaps)
    return torch.cat(batches)


# What the pool says about them.


def make_targets(run: Run, images: Tensor) -> Tensor:
    """Where all teachers' answers place each picture, (I, P), of length 1."""
    config = run.config
    together = side_by_side(
        parts_of(run, images),
        images=len(images),
        width=said_width(config, run.teachers),
        most=most_numbers(config, len(images)),
        rng=torch.Generator().manual_seed(run.image_seed),
    )
    axes = principal_axes(together, config.axes)
    targets = F.normalize(axes.project(together, flattening=config.flattening), dim=1)
    tell(run, PLACE, {})
    return targets


def parts_of(run: Run, images: Tensor) -> Iterator[Tensor]:
    """One teacher after the other: what it says of all pictures."""
    for teacher in run.teachers:
        chunks = torch.split(images, 4 * run.config.batch_images)
        yield torch.cat([said_of(run, teacher, chunk.float() / 255.0) for chunk in chunks])
        tell(run, ASK, {})


def said_of(run: Run, teacher: Teacher, images: Tensor) -> Tensor:
    """What a teacher says of pictures in [0, 1], weighted, on the CPU."""
    config = run.config
    features = features_of(teacher, images, precision=config.precision)
    parts: list[Tensor] = []
    if config.answer_weight:
        answers = answers_from(teacher, features, temperature=config.temperature)
        parts.append(config.answer_weight * answers)
    if config.feature_weight:
        parts.append(config.feature_weight * F.normalize(features, dim=1))
    return torch.cat(parts, dim=1).cpu()


# Distillation.


def distil_step(run: Run, images: Tensor, targets: Tensor) -> Tensor:
    """One step of Adam along 1 - cos(g(f(x)), target); returns the mean loss."""
    config = run.config
    rows = torch.randint(len(images), (config.batch_size,), generator=run.rng)
    seen = run.canvas.normalize(images[rows].to(run.device).float() / 255.0)
    with computing_in(config.precision, run.device):
        features = apply(run.encoder, run.part(ENCODER), seen)
    placed = apply(run.head, run.part(HEAD), features.float())
    loss = 1.0 - F.cosine_similarity(placed, targets[rows].to(run.device), dim=1).mean()
    run.theta.step(gradients(loss, run.theta.params), lr=step_size(run.step, config))
    return loss.detach()


def step_size(step: int, config: MultiTeacherConfig) -> float:
    """One cycle of cosines: from a 25th of learner_lr up to it, then down to nearly nothing."""
    place = (step + 0.5) / config.steps
    if place < WARM_UP:
        rise = (1.0 - math.cos(math.pi * place / WARM_UP)) / 2.0
        return config.learner_lr * (0.04 + 0.96 * rise)
    return config.learner_lr * (1.0 + math.cos(math.pi * (place - WARM_UP) / (1 - WARM_UP))) / 2.0


# How long it will take.


def learn_costs(run: Run) -> None:
    """Rehearse in the middle of the first step, and tell the meter.

    Not before: a process that has computed nothing yet gets its memory from the system again and
    again, and a trial takes half as long again as what it stands for.
    """
    began_s = clock_of(run.device)()
    run.meter.rehearsed(rehearse(run), began_s=began_s)


def rehearse(run: Run) -> dict[str, float]:
    """Seconds of a step of each kind but drawing, which comes first, tried on noise.

    The run stays as it is.
    """
    config, canvas, rng = run.config, run.canvas, torch.Generator().manual_seed(0)
    shape = (canvas.channels, canvas.image_size, canvas.image_size)
    noise = (256 * torch.rand(config.batch_images, *shape, generator=rng)).to(torch.uint8)
    one_of_each = {teacher.backbone: teacher for teacher in run.teachers}
    answer_s = {
        name: fastest(partial(said_of, run, teacher, noise.float() / 255.0), run.device)
        for name, teacher in one_of_each.items()
    }
    trial = replace(run, theta=new_theta(run.theta.params, config), rng=rng)
    targets = torch.randn(len(noise), len(run.part(HEAD)["out.bias"]), generator=rng)
    step_s = fastest(lambda: float(distil_step(trial, noise, targets)), run.device)
    mean_answer_s = sum(answer_s[each.backbone] for each in run.teachers) / len(run.teachers)
    images = image_count(config, canvas)
    batches, width = images / len(noise), said_width(config, run.teachers)
    numbers = min(width, most_numbers(config, images))
    return {
        ASK: batches * mean_answer_s,
        PLACE: axes_seconds(images, numbers, config.axes, run.device),
        DISTIL: STEPS_A_REPORT * step_s,
        SETTLE: batches * fastest(partial(learner_of, trial, noise), run.device),
    }


def train(
    teachers: Sequence[Teacher],
    config: MultiTeacherConfig,
    *,
    rng: torch.Generator,
    device: torch.device,
    report: Report = silent,
    save: SaveState = discard,
    offer: Offer | None = None,
    resume_from: TrainingState | None = None,
) -> MetaLearner:
    """Distil a pool's answers into one network, without any data.

    Same teachers, config, seed and CPU: bit-identical, also when interrupted and resumed.

    Args:
        teachers: modules on `device`; those with a single class are left out.
        config: all numbers.
        rng: a CPU generator, the only source of randomness.
        device: where to compute.
        report: called once per batch of pictures, per teacher, per STEPS_A_REPORT steps, and when
            the axes are found and the learner is whole; may raise to cancel.
        save: called with the state every `save_every` steps; holds no image.
        offer: called then, too, with the step and the learner as it stands.
        resume_from: a state that `save` was given, by a run with the same arguments.

    Raises:
        UnusablePool: if fewer than two teachers have two classes or more.
        InvalidConfig: if resume_from belongs to another config or pool.
    """
    run = begin(teachers, config, rng, device, report)
    if resume_from is not None:
        restore(run, resume_from)
    images = make_images(run)
    targets = make_targets(run, images)
    losses: list[Tensor] = []
    while run.step < config.steps:
        losses.append(distil_step(run, images, targets))
        run.step += 1
        if run.step % STEPS_A_REPORT == 0 or run.step == config.steps:
            tell(run, DISTIL, {"distillation_loss": float(torch.stack(losses).mean())})
            losses.clear()
        if run.step % config.save_every == 0 and run.step < config.steps:
            save(state_of(run))
            if offer is not None:
                offer(run.step, learner_of(run, images))
    learner = learner_of(run, images)
    tell(run, SETTLE, {})
    return learner
