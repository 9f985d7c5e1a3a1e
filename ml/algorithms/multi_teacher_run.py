"""What a multi-teacher run carries from step to step: how it begins, ends, and is resumed.

Dims: I images in all, C channels, S side length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ml.algorithms.multi_teacher_config import MultiTeacherConfig
from ml.answers import CHUNK, answer_width, feature_width
from ml.canvas import Canvas, choose_canvas
from ml.errors import InvalidConfig, UnusablePool
from ml.functional import MetaOptimizer, Params, batch_normalised, parameters_of
from ml.learner import Adaptation, MetaLearner
from ml.progress import WorkMeter, clock_of
from ml.state import identity_of
from ml.student import deliver, folded_head, new_head, new_network
from ml.types import Progress, Report, Teacher, TrainingState

DRAW, ASK, PLACE = "draw and refine images", "ask the teachers", "find principal axes"
DISTIL, SETTLE = "distil", "measure BatchNorm"
MOST_NUMBERS = 16_384  # of what all teachers say of a picture: beyond, random sums of them
MAX_SAID_BYTES = 4 << 30
MAX_IMAGE_BYTES = 2 << 30  # of drawn images, a byte a number: 700,000 of 32 pixels, fewer above
BETAS = (0.9, 0.999)
STEPS_A_REPORT = 20
ENCODER, HEAD = "encoder.", "head."  # how names of the two parts begin


@dataclass(eq=False, kw_only=True)
class Run:
    """What a run carries from step to step."""

    teachers: Sequence[Teacher]
    config: MultiTeacherConfig
    canvas: Canvas
    device: torch.device
    image_seed: int
    """Of the pictures and of everything else that a resumed run makes anew."""
    rng: torch.Generator
    """Of distillation."""
    encoder: nn.Module
    """Of the learner: what is computed; theta says with which weights."""
    head: nn.Module
    """Behind it, from features to axes; likewise."""
    theta: MetaOptimizer
    meter: WorkMeter
    report: Report
    step: int = 0

    def part(self, prefix: str) -> Params:
        """The weights of the encoder or the head, by their own names."""
        params = self.theta.params
        return {n.removeprefix(prefix): params[n] for n in params if n.startswith(prefix)}


def begin(
    teachers: Sequence[Teacher],
    config: MultiTeacherConfig,
    rng: torch.Generator,
    device: torch.device,
    report: Report,
) -> Run:
    """A run before its first step.

    Raises:
        UnusablePool: if fewer than two teachers have two classes or more.
    """
    started_s = clock_of(device)()
    usable = [teacher for teacher in teachers if teacher.n_classes >= 2]
    if len(usable) < 2:
        raise UnusablePool(
            "multi_teacher needs at least 2 models of at least 2 classes each, and found "
            f"{len(usable)}"
        )
    canvas = choose_canvas(usable, image_size=config.image_size, channels=config.channels)
    order = torch.randperm(len(usable), generator=rng).tolist()
    asked = [usable[place] for place in sorted(order[: config.max_teachers])]
    network = new_network(config.backbone, config.n_way, canvas, rng)
    axes = min(config.axes, said_width(config, asked))
    head = batch_normalised(new_head(network.feature_dim, config.hidden, axes, rng))
    encoder = batch_normalised(network.encoder)
    start = {f"{ENCODER}{name}": p for name, p in parameters_of(encoder, device).items()}
    start |= {f"{HEAD}{name}": p for name, p in parameters_of(head, device).items()}
    image_seed, seed = torch.randint(2**62, (2,), generator=rng).tolist()
    return Run(
        teachers=asked,
        config=config,
        canvas=canvas,
        device=device,
        image_seed=image_seed,
        rng=torch.Generator().manual_seed(seed),
        encoder=encoder,
        head=head,
        theta=new_theta(start, config),
        meter=work_meter(config, canvas, asked, device, started_s=started_s),
        report=report,
    )


def new_theta(start: Params, config: MultiTeacherConfig) -> MetaOptimizer:
    """The learner's weights from where they start; copies."""
    return MetaOptimizer(start, lr=config.learner_lr, betas=BETAS)


def said_width(config: MultiTeacherConfig, teachers: Sequence[Teacher]) -> int:
    """How many numbers all teachers say of a picture."""
    answers = sum(map(answer_width, teachers)) if config.answer_weight else 0
    features = sum(map(feature_width, teachers)) if config.feature_weight else 0
    return answers + features


def most_numbers(config: MultiTeacherConfig, images: int) -> int:
    """How many numbers of a picture are kept of all that teachers say: what memory holds."""
    return max(min(MOST_NUMBERS, MAX_SAID_BYTES // (4 * images)), config.axes)


def learner_of(run: Run, images: Tensor) -> MetaLearner:
    """The learner as it stands, with BatchNorm statistics measured on the pictures."""
    batches = batch_sizes(len(images), CHUNK)
    learner = deliver(
        {f"{ENCODER}{name}": p.detach() for name, p in run.part(ENCODER).items()},
        (c.float() / 255.0 for c in torch.split(images, batches)),
        backbone=run.config.backbone,
        n_way=run.config.n_way,
        canvas=run.canvas,
        device=run.device,
        adaptation=Adaptation(centre="none", temperature=run.config.serving_temperature),
    )
    encoder = learner.module().encoder.to(run.device)
    seen = (
        run.canvas.normalize(c.to(run.device).float() / 255.0) for c in torch.split(images, batches)
    )
    return replace(learner, projection=folded_head(run.part(HEAD), map(encoder, seen)))


def work_meter(
    config: MultiTeacherConfig,
    canvas: Canvas,
    teachers: Sequence[Teacher],
    device: torch.device,
    *,
    started_s: float,
) -> WorkMeter:
    """Plan the steps of each kind; all but the first are rehearsed before one is told."""
    planned = {
        DRAW: len(batch_sizes(image_count(config, canvas), config.batch_images)),
        ASK: len(teachers),
        PLACE: 1,
        DISTIL: -(-config.steps // STEPS_A_REPORT),
        SETTLE: 1,
    }
    meter = WorkMeter(planned, dict.fromkeys(planned, 1.0), device, started_s=started_s)
    meter.rehearsed({})  # whatever has passed was preparation
    return meter


def tell(run: Run, stage: str, metrics: Mapping[str, float]) -> None:
    """Count a step of a stage and report it."""
    run.report(
        Progress(
            stage=stage,
            step=run.step,
            total_steps=run.config.steps,
            fraction=run.meter.lap(stage),
            metrics=metrics,
        )
    )


def state_of(run: Run) -> TrainingState:
    """All that the run needs to go on; pictures and answers are made anew from their seed."""
    return TrainingState(
        tensors={**run.theta.state(), "rng": run.rng.get_state()},
        scalars={
            "identity": identity_of(run.config, run.teachers),
            "step": run.step,
            "image_seed": run.image_seed,
        },
    )


def restore(run: Run, state: TrainingState) -> None:
    """Bring a run that has just begun to where the state was taken.

    Raises:
        InvalidConfig: if the state belongs to another config or pool.
    """
    if state.scalars.get("identity") != identity_of(run.config, run.teachers):
        raise InvalidConfig("the state to resume from belongs to another config or pool")
    run.theta.restore({n: t for n, t in state.tensors.items() if n != "rng"})
    run.rng.set_state(state.tensors["rng"].cpu())
    run.step = int(str(state.scalars["step"]))
    run.image_seed = int(str(state.scalars["image_seed"]))
    run.meter.skip(DISTIL, run.step // STEPS_A_REPORT)


def image_count(config: MultiTeacherConfig, canvas: Canvas) -> int:
    """As many as the config says, unless they are too large for that."""
    return min(config.images, MAX_IMAGE_BYTES // (canvas.channels * canvas.image_size**2))


def batch_sizes(total: int, size: int) -> list[int]:
    """Nearly equal batches of about `size`, none of a single image."""
    n_batches = max(total // size, 1)
    return [len(part) for part in torch.arange(total).tensor_split(n_batches)]
