"""FREE (Wei et al., CVPR 2024, arXiv 2405.00984): faster and better data-free meta-learning.

FIve recovers each teacher's task in a few steps from a meta-generator that learns to be adapted.
BelL meta-trains the learner on the recovered tasks, first by distillation in sequence (which aligns
the tasks' gradients), then on episodes that mix classes of different teachers.
docs/algorithms/free.md maps each equation to a function and lists every deviation.

Dims: T tasks of a step, B images, N ways, C channels, S side length.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.algorithms.free_config import PRESETS, FreeConfig, configure
from ml.algorithms.free_progress import (
    LEARN,
    MAIN,
    RECOVER,
    REFRESH,
    USUAL_SHARE,
    WARM_UP,
    progress_of,
    recovery_metrics,
    skip_done,
    work_meter,
)
from ml.algorithms.free_run import Run, at_boundary, begin, learner_of, restore, state_of
from ml.distillation import distillation_loss
from ml.functional import (
    Params,
    apply,
    gradient_alignment,
    gradients,
    leaves,
    reptile_gradient,
    summed,
)
from ml.inversion.objectives import augment
from ml.inversion.recover import Recovery, draw_classes, recover_task, task_logits
from ml.inversion.stacked import recover_tasks
from ml.learner import MetaLearner, Offer
from ml.memory import RememberedTask
from ml.progress import WorkMeter, clock_of, fastest
from ml.replay import (
    maml_adapted,
    maml_query_logits,
    maml_query_logits_at_once,
    prototypical_query_logits,
)
from ml.types import (
    Episode,
    Report,
    SaveState,
    Teacher,
    TrainingState,
    discard,
    silent,
)

__all__ = ["PRESETS", "FreeConfig", "configure", "train"]

ALIGNMENT_IMAGES = 25  # per task: enough to see a gradient's direction, at a quarter of the cost


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TaskAtHand:
    """A recovered task at hand: who answers, and on what."""

    teacher: Teacher
    classes: tuple[int, ...]
    images: Tensor


# FIve: faster inversion by a meta-generator.


def recover(run: Run, tasks: Sequence[RememberedTask], *, warm_up: bool) -> list[Recovery]:
    """Each task from its teacher; the disagreement with the learner counts after the warm-up."""
    student = None if warm_up else run.student_logits
    recovery = run.config.recovery
    if run.batched:
        return recover_tasks(
            [run.teachers[task.teacher] for task in tasks],
            [task.classes for task in tasks],
            run.generator,
            run.phi.params,
            recovery,
            student=student,
            rng=run.rng,
        )
    return [
        recover_task(
            run.teachers[task.teacher],
            task.classes,
            run.generator,
            run.phi.params,
            recovery,
            student=student,
            rng=run.rng,
        )
        for task in tasks
    ]


def draw_tasks(run: Run) -> list[RememberedTask]:
    """Teachers independently and uniformly, with replacement, as published; then their classes."""
    n_tasks = run.config.tasks_per_step
    picks = torch.randint(len(run.teachers), (n_tasks,), generator=run.rng).tolist()
    if run.config.aliased_teachers and len({teacher.backbone for teacher in run.teachers}) > 1:
        picks = picks[-1:] * n_tasks
    return [
        RememberedTask(teacher=i, classes=draw_classes(run.teachers[i], run.config.n_way, run.rng))
        for i in picks
    ]


def update_meta_generator(run: Run, recoveries: Sequence[Recovery]) -> None:
    """FIve's outer step: phi <- Adam(phi, sum_i g_i)."""
    if run.config.meta_generator != "off":
        run.phi.step(summed([recovery.meta_gradient for recovery in recoveries]))


def remember(run: Run, tasks: Sequence[RememberedTask], recoveries: Sequence[Recovery]) -> None:
    pairs = list(zip(tasks, recoveries, strict=True))
    for task, recovery in pairs if run.config.memory == "all" else pairs[-1:]:
        run.memory.put(task, recovery.images)


# BelL (a): distillation in sequence, whose outer direction aligns the tasks' gradients.


def distill(run: Run, params: Params, task: TaskAtHand) -> Tensor:
    """Distance of the learner's answers from the teacher's, in nats, over the task's first ways."""
    config = run.config
    seen = augment(
        task.images,
        padding=config.crop_padding,
        fill=config.crop_fill,
        flip=config.flip,
        rng=run.rng,
    )
    with torch.no_grad():
        answers = task_logits(task.teacher, seen, task.classes)
    logits = apply(run.student, params, run.canvas.normalize(seen))[:, : len(task.classes)]
    return distillation_loss(
        logits, answers, kind=config.distillation, temperature=config.temperature
    )


def align(run: Run, tasks: Sequence[TaskAtHand]) -> float:
    """One outer step along theta - theta' after inner steps on one task after the other."""
    config = run.config
    fast = leaves(run.theta.params)
    values = list(fast.values())
    inner: torch.optim.Optimizer = (
        torch.optim.Adam(values, lr=config.inner_lr)
        if config.inner_optimizer == "adam"
        else torch.optim.SGD(values, lr=config.inner_lr)
    )
    losses: list[Tensor] = []
    for task in tasks:
        for _ in range(config.inner_steps):
            loss = distill(run, fast, task)
            inner.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            inner.step()
            losses.append(loss.detach())
    run.theta.step(reptile_gradient(run.theta.params, fast, scale=config.reptile_scale))
    return float(torch.stack(losses).mean())


def distill_in_rounds(run: Run, tasks: Sequence[TaskAtHand]) -> float:
    """BelL (a) on the tasks at hand, then on further rounds of remembered ones; mean loss."""
    losses = [align(run, tasks)]
    for _ in range(run.config.alignment_rounds - 1):
        slots = torch.randint(len(run.memory), (len(tasks),), generator=run.rng).tolist()
        losses.append(align(run, [remembered(run, slot) for slot in slots]))
    return sum(losses) / len(losses)


def remembered(run: Run, slot: int) -> TaskAtHand:
    """A task from memory."""
    task = run.memory.tasks[slot]
    return TaskAtHand(
        teacher=run.teachers[task.teacher], classes=task.classes, images=run.memory.images_of(slot)
    )


def measure_alignment(run: Run, tasks: Sequence[TaskAtHand]) -> float:
    """Mean pairwise cosine of the tasks' distillation gradients at the present learner."""
    params = leaves(run.theta.params)
    few = [
        TaskAtHand(teacher=t.teacher, classes=t.classes, images=t.images[:ALIGNMENT_IMAGES])
        for t in tasks
    ]
    return gradient_alignment([gradients(distill(run, params, task), params) for task in few])


# BelL (b): replay of tasks whose classes come from different teachers.


def draw_episodes(run: Run) -> list[Episode]:
    """Cross-task episodes for one outer step of replay."""
    config = run.config
    return [
        run.memory.draw_episode(
            n_way=config.replay_ways or config.n_way,
            n_shot=config.replay_shots,
            n_query=config.replay_queries,
            rng=run.rng,
        )
        for _ in range(config.replay_episodes)
    ]


def query_logits(run: Run, episode: Episode) -> Tensor:
    """The learner's answer to an episode in the way that replay trains, (Q, N)."""
    config, theta = run.config, run.theta.params
    if config.replay == "prototypical":
        return prototypical_query_logits(run.student, theta, episode, run.canvas.normalize)
    adapted = maml_adapted(
        run.student,
        theta,
        episode,
        run.canvas.normalize,
        steps=config.replay_steps,
        lr=config.replay_lr,
        second_order=config.second_order,
    )
    if config.leaked_weights:
        run.leaked = {name: p.detach() for name, p in adapted.items()}
    return maml_query_logits(run.student, adapted, episode, run.canvas.normalize)


def loss_and_accuracy(logits: Tensor, episode: Episode) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats, share of queries answered rightly."""
    loss = F.cross_entropy(logits, episode.query_labels)
    return loss, (logits.argmax(dim=1) == episode.query_labels).float().mean()


def replay_batch(run: Run) -> tuple[float, float]:
    """One outer step on a batch of cross-task episodes: mean loss (nats), mean accuracy."""
    config, theta = run.config, run.theta.params
    episodes = draw_episodes(run)
    slopes: list[Params] = []
    results: list[tuple[Tensor, Tensor]] = []
    if run.batched and config.replay == "maml" and not config.leaked_weights:
        answers = maml_query_logits_at_once(
            run.student,
            theta,
            episodes,
            run.canvas.normalize,
            steps=config.replay_steps,
            lr=config.replay_lr,
            second_order=config.second_order,
        )
        results = [loss_and_accuracy(*each) for each in zip(answers, episodes, strict=True)]
        slopes = [gradients(torch.stack([loss for loss, _ in results]).sum(), theta)]
    else:  # one after the other, so that one episode's graph is in memory at a time
        for episode in episodes:
            results.append(loss_and_accuracy(query_logits(run, episode), episode))
            slopes.append(gradients(results[-1][0], theta))
    run.theta.step(summed(slopes))
    losses, accuracies = zip(*results, strict=True)
    return float(torch.stack(losses).detach().mean()), float(torch.stack(accuracies).mean())


def replay(run: Run) -> tuple[float, float]:
    """Batches until `replay_patience` of them bring no new best accuracy, or the cap is reached."""
    best, since_best = -1.0, 0
    results: list[tuple[float, float]] = []
    while since_best < run.config.replay_patience and len(results) < run.config.replay_max_batches:
        results.append(replay_batch(run))
        since_best = since_best + 1 if results[-1][1] <= best else 0
        best = max(best, results[-1][1])
    losses, accuracies = zip(*results, strict=True)
    return sum(losses) / len(results), sum(accuracies) / len(results)


def meta_train(
    run: Run, tasks: Sequence[RememberedTask], recoveries: Sequence[Recovery]
) -> dict[str, float]:
    """BelL: align on the tasks at hand, then replay across them; what to report."""
    at_hand = [
        TaskAtHand(teacher=run.teachers[task.teacher], classes=task.classes, images=recovery.images)
        for task, recovery in zip(tasks, recoveries, strict=True)
    ]
    metrics = {"gradient_alignment": measure_alignment(run, at_hand)}
    if run.config.bell:
        metrics["distillation_loss"] = distill_in_rounds(run, at_hand)
    if run.config.replay != "off":
        metrics["replay_loss"], metrics["replay_accuracy"] = replay(run)
    return metrics


# Boundaries, and what is told on the way.


def refresh_memory(run: Run, meter: WorkMeter, report: Report) -> None:
    """Recover every remembered task again, so that a resumed run has the same images as this one.

    The meta-generator has learnt since, so the images get better, too.
    """
    slots = range(len(run.memory))
    at_once = run.config.tasks_per_step
    for start in slots[::at_once]:
        some = slots[start : start + at_once]
        recoveries = recover(run, [run.memory.tasks[slot] for slot in some], warm_up=False)
        for slot, recovery in zip(some, recoveries, strict=True):
            run.memory.refresh(slot, recovery.images)
        fraction = max(meter.lap(REFRESH) for _ in some)
        report(progress_of(run, REFRESH, fraction, {}))


def rehearse(run: Run) -> float:
    """Seconds of a main step beside its recoveries, tried on noise; the run stays as it is."""
    config = replace(run.config, memory_tasks=run.config.tasks_per_step)
    trial = begin(run.teachers, config, torch.Generator().manual_seed(0), run.device)
    at_hand, side = list[TaskAtHand](), trial.canvas.image_size
    for task in draw_tasks(trial):
        shape = (len(task.classes) * config.images_per_class, trial.canvas.channels, side, side)
        images = torch.rand(shape, generator=trial.rng).to(run.device)
        trial.memory.put(task, images)
        teacher = trial.teachers[task.teacher]
        at_hand.append(TaskAtHand(teacher=teacher, classes=task.classes, images=images))
    seconds = fastest(lambda: measure_alignment(trial, at_hand), run.device)
    if config.bell:
        seconds += fastest(lambda: distill_in_rounds(trial, at_hand), run.device)
    if config.replay != "off":
        batches = USUAL_SHARE * config.replay_max_batches
        seconds += batches * fastest(lambda: replay_batch(trial), run.device)
    return seconds


def train(
    teachers: Sequence[Teacher],
    config: FreeConfig,
    *,
    rng: torch.Generator,
    device: torch.device,
    report: Report = silent,
    save: SaveState = discard,
    offer: Offer | None = None,
    resume_from: TrainingState | None = None,
) -> MetaLearner:
    """Meta-train a learner over frozen teachers, without any data.

    Same teachers, config, seed and CPU: bit-identical, also when interrupted and resumed. For that
    the run recovers its memory anew every `save_every` steps, whether or not anyone saves.

    Args:
        teachers: modules on `device`; those with a single class are left out.
        config: all numbers.
        rng: a CPU generator, the only source of randomness.
        device: where to compute.
        report: called once per outer step and per task recovered anew; may raise to cancel.
        save: called with the state at every boundary; holds no image.
        offer: called at every boundary with the step and the learner as it stands.
        resume_from: a state that `save` was given, by a run with the same arguments.

    Raises:
        UnusablePool: if fewer than two teachers have two classes or more.
        InvalidConfig: if resume_from belongs to another config or pool.
    """
    started_s = clock_of(device)()
    run = begin(teachers, config, rng, device)
    meter = work_meter(run, rehearse(run), started_s=started_s)
    if resume_from is not None:
        restore(run, resume_from)
        skip_done(run, meter)
        refresh_memory(run, meter, report)
    while run.step < config.outer_steps:
        warm_up = run.step < config.warm_up_steps
        tasks = draw_tasks(run)
        started = time.perf_counter()
        recoveries = recover(run, tasks, warm_up=warm_up)
        metrics = recovery_metrics(run, recoveries, time.perf_counter() - started)
        update_meta_generator(run, recoveries)
        fraction = meter.lap(WARM_UP if warm_up else RECOVER)
        if not warm_up:
            remember(run, tasks, recoveries)
            metrics |= meta_train(run, tasks, recoveries)
            fraction = meter.lap(LEARN)
        run.step += 1
        report(progress_of(run, WARM_UP if warm_up else MAIN, fraction, metrics))
        if at_boundary(run):
            save(state_of(run))
            if offer is not None:
                offer(run.step, learner_of(run))
            refresh_memory(run, meter, report)
    return learner_of(run)
