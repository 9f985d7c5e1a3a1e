"""All numbers and switches FREE depends on, and named sets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from ml.algorithms.settings import check_choices, from_preset
from ml.backbones import BACKBONES
from ml.distillation import Distillation
from ml.errors import InvalidConfig
from ml.functional import MetaOptimizerKind
from ml.inversion.objectives import Adversarial, Fill
from ml.inversion.precision import Precision
from ml.inversion.recover import Accumulate, RecoveryConfig

GENERATOR_BETAS = (0.5, 0.999)
"""Adam's decays for the generator, inside and outside; as published."""

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "meta_generator": (*get_args(MetaOptimizerKind), "off"),
        "accumulate": get_args(Accumulate),
        "adversarial": get_args(Adversarial),
        "crop_fill": get_args(Fill),
        "precision": get_args(Precision),
        "batched": ("auto", "on", "off"),
        "distillation": ("kl", "inner_product"),
        "inner_optimizer": ("adam", "sgd"),
        "memory": ("all", "last"),
        "replay": ("maml", "prototypical", "off"),
        "backbone": tuple(BACKBONES),
    }
)
AT_MOST: Mapping[str, int] = MappingProxyType(
    {
        "outer_steps": 1_000_000,
        "tasks_per_step": 256,
        "n_way": 100,
        "adapt_steps": 1_000,
        "images_per_class": 1_000,
        "latent_dim": 4_096,
        "candidates": 64,
        "generator_width": 512,
        "memory_tasks": 100_000,
        "replay_episodes": 1_000,
    }
)
"""So that a slip of the finger is refused instead of filling a worker's memory."""
AT_LEAST: Mapping[str, int] = MappingProxyType(
    {
        "outer_steps": 1,
        "warm_up_steps": 0,
        "tasks_per_step": 1,
        "n_way": 2,
        "adapt_steps": 1,
        "images_per_class": 1,
        "latent_dim": 1,
        "candidates": 1,
        "generator_width": 1,
        "crop_padding": 0,
        "inner_steps": 1,
        "alignment_rounds": 1,
        "memory_tasks": 1,
        "replay_episodes": 1,
        "replay_patience": 1,
        "replay_max_batches": 1,
        "replay_shots": 1,
        "replay_queries": 1,
        "replay_steps": 0,
        "save_every": 1,
    }
)
POSITIVE = (
    "generator_lr",
    "latent_lr",
    "lr_decay",
    "meta_generator_lr",
    "temperature",
    "inner_lr",
    "reptile_scale",
    "learner_lr",
    "replay_lr",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeConfig:
    """All numbers FREE depends on.

    "Paper" below means the paper as its code's scripts run it; "ours" is said where neither
    speaks. Learning rates are dimensionless, losses in nats.
    """

    outer_steps: int = 1000
    """Steps of the whole loop; paper."""
    warm_up_steps: int = 20
    """First steps that only train the meta-generator, without L_adv; paper."""
    tasks_per_step: int = 4
    """T, teachers drawn per step, with replacement; paper."""
    n_way: int = 5
    """Ways of a task and outputs of the learner; paper."""
    backbone: str = "conv4"
    """The learner's architecture; paper, in every script."""
    image_size: int | None = None
    """Side of recovered images in pixels; None is the pool's most common size; ours."""
    channels: int | None = None
    """Of recovered images, 1 or 3; None is the most any teacher has; ours."""

    adapt_steps: int = 5
    """k, generator steps per teacher; paper."""
    images_per_class: int = 20
    """Recovered per task; paper."""
    latent_dim: int = 256
    """Numbers per latent vector; paper."""
    candidates: int = 1
    """Latents drawn for each that is kept, the teacher choosing; paper: 1, no choice; ours."""
    generator_width: int = 64
    """Feature maps before the generator's last convolution; paper."""
    conditional: bool = False
    """Whether the generator is told the label beside z; the paper's is not."""
    generator_lr: float = 1e-3
    """Adam on the fast copy; paper."""
    latent_lr: float = 1e-3
    """Adam on z; paper."""
    lr_decay: float = 1.0
    """Both step sizes at the last inner step relative to the first, geometric in between; paper: 1,
    none; ours."""
    meta_generator: Literal[MetaOptimizerKind, "off"] = "persistent_adam"
    """Outer optimiser; the paper's text has one optimiser, its code a fresh Adam per step."""
    meta_generator_lr: float = 1e-3
    """Its step size; paper."""
    accumulate: Accumulate = "last"
    """What reaches phi: the gradient of the last inner step (paper), of all steps, or phi - phi'
    ("reptile"); the latter two as in FastDFKD."""
    adversarial: Adversarial = "kl"
    """The disagreement term; the paper's text has a KL, its code an inner product."""
    leaked_weights: bool = False
    """Whether L_adv meets the learner as MAML replay's last episode left it; a fault of the
    published code."""
    aliased_teachers: bool = False
    """Whether, in a pool of several backbones, a step's tasks are all answered by the last teacher
    drawn; a fault of the published code."""
    adversarial_weight: float = 1.0
    """lambda_adv; paper."""
    bn_weight: float = 0.0
    """Weight of the BatchNorm statistics gap; paper: none."""
    crop_padding: int = 4
    """Largest random shift in front of the teacher, pixels; paper."""
    crop_fill: Fill = "zeros"
    """What enters at the border; paper: zeros, which teachers trained without such borders take
    for another kind of image. "reflect": the image's own mirror image; ours."""
    flip: bool = True
    """Random mirroring; paper. Turn it off where a mirrored image is another class."""
    precision: Precision = "float32"
    """Format of recovery's convolutions; paper: float32. "auto": bfloat16 where it is native."""
    batched: Literal["auto", "on", "off"] = "auto"
    """Whether the tasks of a step, and the episodes of a batch, are computed in one call; only
    rounding differs. "auto": on a GPU; ours."""

    bell: bool = True
    """Whether BelL's sequential distillation runs; paper."""
    distillation: Distillation = "kl"
    """Its loss; the paper's text has a KL, its code an inner product."""
    temperature: float = 1.0
    """Of the KL; the paper gives none."""
    inner_optimizer: Literal["adam", "sgd"] = "adam"
    """Inside; paper: Adam. The alignment argument holds for SGD."""
    inner_lr: float = 1e-3
    """Its step size; paper."""
    inner_steps: int = 1
    """Steps on each task before the next one; paper."""
    reptile_scale: float = 67.0
    """Factor of theta - theta'; paper's code, inherited from FastDFKD."""
    alignment_rounds: int = 1
    """Outer distillation steps per step; beyond the first on remembered tasks; paper: 1."""
    learner_lr: float = 1e-3
    """The persistent meta Adam of distillation and replay; paper."""

    memory: Literal["all", "last"] = "all"
    """Which tasks of a step are remembered; the paper's code keeps the last teacher's only."""
    memory_tasks: int = 256
    """Tasks remembered; about the paper's 20 slots for each of 64 classes."""
    classes_are_private: bool = False
    """Whether equal class names of two teachers still mean two classes; ours."""
    replay: Literal["maml", "prototypical", "off"] = "maml"
    """Loss of cross-task episodes; paper: MAML. Prototypical fits nearest-centroid serving."""
    replay_episodes: int = 10
    """Episodes per outer step of replay; paper."""
    replay_patience: int = 10
    """Batches without a new best accuracy that end a step's replay; paper."""
    replay_max_batches: int = 100
    """Cap of the same, so that a step ends; ours."""
    replay_ways: int | None = None
    """Ways of an episode; None is n_way, as in the paper."""
    replay_shots: int = 5
    """Support images per class; paper: 1 or 5."""
    replay_queries: int = 15
    """Query images per class; paper."""
    replay_steps: int = 5
    """MAML's inner steps; paper."""
    replay_lr: float = 0.01
    """MAML's inner learning rate; paper."""
    second_order: bool = True
    """Whether MAML differentiates its inner path; paper."""

    save_every: int = 250
    """Steps between boundaries: state out, memory recovered anew; ours."""

    @property
    def effort(self) -> int:
        """How many times an image passes through a network, about; recovery alone is counted."""
        task = 4 * self.adapt_steps * self.n_way * self.images_per_class
        return self.outer_steps * self.tasks_per_step * task

    def __post_init__(self) -> None:
        check_choices({name: getattr(self, name) for name in CHOICES}, CHOICES)
        for name, least in AT_LEAST.items():
            if getattr(self, name) < least:
                raise InvalidConfig(f"{name} must be at least {least}")
        for name, most in AT_MOST.items():
            if getattr(self, name) > most:
                raise InvalidConfig(f"{name} must be at most {most}")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise InvalidConfig(f"{name} must be positive")
        if not (self.bn_weight >= 0 and self.adversarial_weight >= 0):
            raise InvalidConfig("bn_weight and adversarial_weight must not be negative")
        self._check_together()

    def _check_together(self) -> None:
        if self.warm_up_steps >= self.outer_steps:
            raise InvalidConfig("warm_up_steps must be below outer_steps, else nothing is learnt")
        if not self.bell and self.replay == "off":
            raise InvalidConfig("without bell and replay nothing trains the learner")
        if self.replay != "off" and self.replay_shots + self.replay_queries > self.images_per_class:
            raise InvalidConfig(
                "replay_shots + replay_queries must not exceed images_per_class, "
                f"which is {self.images_per_class}"
            )
        if self.replay == "maml" and (self.replay_ways or self.n_way) > self.n_way:
            raise InvalidConfig("MAML replay has a head of n_way outputs: lower replay_ways")
        if self.replay_ways is not None and self.replay_ways < 2:
            raise InvalidConfig("replay_ways must be at least 2")

    @property
    def recovery(self) -> RecoveryConfig:
        """The part that one recovery depends on."""
        return RecoveryConfig(
            steps=self.adapt_steps,
            images_per_class=self.images_per_class,
            latent_dim=self.latent_dim,
            conditional=self.conditional,
            n_way=self.n_way,
            generator_lr=self.generator_lr,
            latent_lr=self.latent_lr,
            lr_decay=self.lr_decay,
            betas=GENERATOR_BETAS,
            crop_padding=self.crop_padding,
            crop_fill=self.crop_fill,
            flip=self.flip,
            adversarial=self.adversarial,
            adversarial_weight=self.adversarial_weight,
            bn_weight=self.bn_weight,
            accumulate=self.accumulate,
            candidates=self.candidates,
            precision=self.precision,
        )


PAPER = FreeConfig()

PRESETS: Mapping[str, FreeConfig] = MappingProxyType(
    {
        "paper": PAPER,
        "published_code": replace(
            PAPER,
            meta_generator="fresh_adam",
            adversarial="inner_product",
            distillation="inner_product",
            memory="last",
            leaked_weights=True,
            aliased_teachers=True,
        ),
        "small": replace(  # ours: 100 teachers of 32 pixels in a quarter of an hour on one core
            PAPER,
            outer_steps=100,
            warm_up_steps=10,
            adapt_steps=10,
            candidates=4,
            generator_width=16,
            generator_lr=2e-3,
            lr_decay=0.1,
            meta_generator_lr=2e-3,
            accumulate="all",
            bn_weight=0.3,
            crop_fill="reflect",
            precision="auto",
            replay="prototypical",
            replay_episodes=4,
            replay_patience=4,
            replay_max_batches=10,
            memory_tasks=64,
            save_every=40,
        ),
        "tiny": replace(  # ours: a dozen teachers of 16 pixels in about a minute on one core
            PAPER,
            outer_steps=26,
            warm_up_steps=6,
            generator_width=16,
            meta_generator_lr=2e-3,
            accumulate="all",
            bn_weight=0.1,
            reptile_scale=1.0,  # 67 drowns replay in the Adam moments that both share
            crop_padding=2,
            flip=False,
            replay="prototypical",
            replay_episodes=4,
            replay_patience=4,
            replay_max_batches=10,
            memory_tasks=24,
            save_every=15,
        ),
    }
)


def configure(settings: Mapping[str, Any]) -> FreeConfig:
    """A config from plain settings, as a recipe carries them.

    Args:
        settings: field names and values; `preset` names where to start, "paper" by default.

    Raises:
        InvalidConfig: on an unknown preset or field, a value of the wrong type, or one that
            FreeConfig refuses.
    """
    return from_preset(
        settings,
        PRESETS,
        algorithm="FREE",
        default="paper",
        optional=("image_size", "channels", "replay_ways"),
        choices=CHOICES,
    )
