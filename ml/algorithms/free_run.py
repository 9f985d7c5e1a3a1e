"""What a run of FREE carries from step to step: how it begins, ends, and is resumed.

Dims: C channels, S side length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ml.algorithms.free_config import GENERATOR_BETAS, FreeConfig
from ml.backbones import Backbone
from ml.canvas import Canvas, choose_canvas
from ml.errors import InvalidConfig, UnusablePool
from ml.functional import (
    MetaOptimizer,
    Params,
    apply,
    batch_normalised,
    norms_composed,
    parameters_of,
)
from ml.inversion.generator import Generator, new_generator
from ml.learner import MetaLearner
from ml.memory import TaskMemory, key_classes
from ml.state import identity_of
from ml.student import deliver, new_network
from ml.types import Teacher, TrainingState

MAX_MEMORY_BYTES = 2 << 30  # of recovered images: 256 tasks at 84 pixels; fewer above
LEARNER_BETAS = (0.9, 0.999)  # Adam's own; the published code leaves them alone


@dataclass(slots=True, eq=False, kw_only=True)
class Run:
    """What a run carries from step to step."""

    teachers: Sequence[Teacher]
    config: FreeConfig
    canvas: Canvas
    rng: torch.Generator
    generator: Generator
    phi: MetaOptimizer
    student: Backbone
    theta: MetaOptimizer
    memory: TaskMemory
    step: int = 0
    recovered_tasks: int = 0
    leaked: Params | None = None
    """Weights that an episode of replay left behind, where the config lets them leak."""

    @property
    def device(self) -> torch.device:
        """Where the run computes."""
        return next(iter(self.theta.params.values())).device

    @property
    def batched(self) -> bool:
        """Whether tasks and episodes are computed many at once."""
        return computes_at_once(self.config, self.device)

    def student_logits(self, images: Tensor) -> Tensor:
        """The meta-learner's answer, without gradient, as L_adv takes it."""
        with torch.no_grad():
            params = self.leaked or self.theta.params
            return apply(self.student, params, self.canvas.normalize(images))


def computes_at_once(config: FreeConfig, device: torch.device) -> bool:
    """What the config says, or whether the device gains by it."""
    return device.type == "cuda" if config.batched == "auto" else config.batched == "on"


def memory_capacity(config: FreeConfig, canvas: Canvas) -> int:
    """Tasks to remember: as many as the config says, unless their images are too large for that."""
    numbers = config.n_way * config.images_per_class * canvas.channels * canvas.image_size**2
    fitting = MAX_MEMORY_BYTES // (4 * numbers)
    return max(1, min(config.memory_tasks, fitting))


def begin(
    teachers: Sequence[Teacher], config: FreeConfig, rng: torch.Generator, device: torch.device
) -> Run:
    """A run before its first step.

    Raises:
        UnusablePool: if fewer than two teachers have two classes or more.
    """
    usable = [teacher for teacher in teachers if teacher.n_classes >= 2]
    if len(usable) < 2:
        raise UnusablePool(
            "FREE aligns and mixes tasks of different models: it needs at least 2 models of at "
            f"least 2 classes each, and found {len(usable)}"
        )
    canvas = choose_canvas(usable, image_size=config.image_size, channels=config.channels)
    generator = new_generator(
        latent_dim=config.latent_dim + (config.n_way if config.conditional else 0),
        width=config.generator_width,
        image_size=canvas.image_size,
        channels=canvas.channels,
        rng=rng,
    )
    student = batch_normalised(new_network(config.backbone, config.n_way, canvas, rng))
    if computes_at_once(config, device):
        student = norms_composed(student)
    return Run(
        teachers=usable,
        config=config,
        canvas=canvas,
        rng=rng,
        generator=generator,
        phi=MetaOptimizer(
            parameters_of(generator, device),
            lr=config.meta_generator_lr,
            betas=GENERATOR_BETAS,
            kind="persistent_adam" if config.meta_generator == "off" else config.meta_generator,
        ),
        student=student,
        theta=MetaOptimizer(
            parameters_of(student, device), lr=config.learner_lr, betas=LEARNER_BETAS
        ),
        memory=TaskMemory(
            key_classes(usable, private=config.classes_are_private),
            capacity=memory_capacity(config, canvas),
            n_way=config.n_way,
            images_per_class=config.images_per_class,
            image_shape=(canvas.channels, canvas.image_size, canvas.image_size),
            device=device,
        ),
    )


def learner_of(run: Run) -> MetaLearner:
    """The learner as it stands, with BatchNorm statistics measured on the remembered images."""
    return deliver(
        run.theta.params,
        map(run.memory.images_of, range(len(run.memory))),
        backbone=run.config.backbone,
        n_way=run.config.n_way,
        canvas=run.canvas,
        device=run.device,
    )


def at_boundary(run: Run) -> bool:
    """Whether state goes out and memory is recovered anew after the step just done."""
    return run.step % run.config.save_every == 0 and run.step < run.config.outer_steps


def state_of(run: Run) -> TrainingState:
    """All that the run needs to go on: weights, moments, rng, step, which tasks it remembers."""
    tensors = {f"phi/{name}": tensor for name, tensor in run.phi.state().items()}
    tensors |= {f"theta/{name}": tensor for name, tensor in run.theta.state().items()}
    leaked = run.leaked or {}
    tensors |= {f"leaked/{name}": tensor.detach().cpu().clone() for name, tensor in leaked.items()}
    return TrainingState(
        tensors={**tensors, "rng": run.rng.get_state()},
        scalars={
            "identity": identity_of(run.config, run.teachers),
            "step": run.step,
            "recovered_tasks": run.recovered_tasks,
            **run.memory.state(),
        },
    )


def restore(run: Run, state: TrainingState) -> None:
    """Bring a run that has just begun to where the state was taken.

    Raises:
        InvalidConfig: if the state belongs to another config or pool.
    """
    scalars = state.scalars
    if scalars.get("identity") != identity_of(run.config, run.teachers):
        raise InvalidConfig("the state to resume from belongs to another config or pool")
    for prefix, optimizer in (("phi/", run.phi), ("theta/", run.theta)):
        optimizer.restore(
            {n.removeprefix(prefix): t for n, t in state.tensors.items() if n.startswith(prefix)}
        )
    leaked = {n: t for n, t in state.tensors.items() if n.startswith("leaked/")}
    if leaked:
        run.leaked = {n.removeprefix("leaked/"): t.to(run.device) for n, t in leaked.items()}
    run.rng.set_state(state.tensors["rng"].cpu())
    run.step = int(str(scalars["step"]))
    run.recovered_tasks = int(str(scalars["recovered_tasks"]))
    run.memory.restore({n: v for n, v in scalars.items() if isinstance(v, list)})
