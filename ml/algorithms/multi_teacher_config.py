"""All numbers that multi-teacher distillation depends on, and named sets of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, get_args

from ml.algorithms.settings import check_choices, from_preset
from ml.backbones import BACKBONES
from ml.errors import InvalidConfig
from ml.inversion.precision import Precision
from ml.inversion.refine import RefineConfig

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "backbone": tuple(BACKBONES),
        "precision": get_args(Precision),
    }
)
LIMITS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "images": (2, 1_000_000),
        "batch_images": (2, 10_000),
        "refine_steps": (0, 10_000),
        "refine_teachers": (1, 100),
        "max_teachers": (2, 10_000),
        "axes": (2, 4_096),
        "hidden": (0, 8_192),
        "steps": (1, 10_000_000),
        "batch_size": (2, 100_000),
        "n_way": (2, 100),
        "save_every": (1, 10_000_000),
    }
)
"""Least and most: a slip of the finger is refused instead of filling a worker's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiTeacherConfig:
    """All numbers the algorithm depends on; all of them are ours."""

    images: int = 20_000
    """Pictures that the teachers answer."""
    batch_images: int = 250
    """Pictures refined together; BatchNorm statistics are taken over them."""
    refine_steps: int = 10
    """Steps in the pixels; 0 leaves the pictures as drawn."""
    refine_teachers: int = 2
    """Teachers that look at a batch while it is refined, drawn without replacement."""
    refine_lr: float = 0.02
    """Size of the first step, in units of the full range of a pixel."""
    class_weight: float = 1.0
    """Of the cross-entropy towards classes drawn by chance, while refining."""
    bn_weight: float = 1.0
    """Of the BatchNorm gaps, while refining."""
    flip: bool = True
    """Whether refinement also looks at mirror images; wrong for digits and letters."""
    max_teachers: int = 128
    """Teachers asked at most; of a larger pool so many are drawn."""
    answer_weight: float = 1.0
    """Of each teacher's Hellinger vector in what is distilled."""
    feature_weight: float = 0.3
    """Of each teacher's unit features beside it. Answers tell more where the pool knows many
    classes, features where it knows few: this much costs a wide pool nothing and helps a small."""
    temperature: float = 2.0
    """Of the teachers' softmax."""
    axes: int = 128
    """P, principal axes of the answers that are distilled."""
    flattening: float = 0.125
    """Axes are scaled by variance ** -flattening: small ones count more than by their size."""
    hidden: int = 512
    """Units of a layer between the learner's features and the axes; 0 is a linear map. Conv4's 128
    features have little room of their own."""
    backbone: str = "conv4"
    """The learner's architecture."""
    n_way: int = 5
    """Outputs of the head that adaptation by fine-tuning starts from."""
    image_size: int | None = None
    """Side of the pictures in pixels; None is the pool's most common size."""
    channels: int | None = None
    """1 or 3; None is the most any teacher has."""
    steps: int = 5_000
    """Steps of distillation."""
    batch_size: int = 128
    """Pictures per step."""
    learner_lr: float = 4e-3
    """Adam's largest step size; it rises over a fifth of the steps and falls to zero."""
    serving_temperature: float = 0.26
    """Of the learner's answers: the likelihood's best on validation classes, at 1 to 5 shots."""
    precision: Precision = "auto"
    """Of convolutions and matrix products, of teachers and learner."""
    save_every: int = 2_000
    """Steps between saved states."""

    def __post_init__(self) -> None:
        check_choices({name: getattr(self, name) for name in CHOICES}, CHOICES)
        for name, (least, most) in LIMITS.items():
            if not least <= getattr(self, name) <= most:
                raise InvalidConfig(f"{name} must be between {least} and {most}")
        self._check_floats()

    def _check_floats(self) -> None:
        for name in ("refine_lr", "temperature", "learner_lr", "serving_temperature"):
            if not getattr(self, name) > 0:
                raise InvalidConfig(f"{name} must be positive")
        for name in ("class_weight", "bn_weight", "answer_weight", "feature_weight"):
            if not getattr(self, name) >= 0:
                raise InvalidConfig(f"{name} must not be negative")
        if self.answer_weight + self.feature_weight == 0:
            raise InvalidConfig("without answer_weight and feature_weight nothing is distilled")
        if not 0 <= self.flattening <= 0.5:
            raise InvalidConfig("flattening must be between 0 and 0.5")

    @property
    def effort(self) -> int:
        """How many times an image passes through a network, about; answers are not counted."""
        refining = 4 * self.refine_steps * self.refine_teachers
        return self.images * refining + 3 * self.steps * self.batch_size

    @property
    def refinement(self) -> RefineConfig:
        """The part that one refinement depends on."""
        return RefineConfig(
            steps=self.refine_steps,
            lr=self.refine_lr,
            class_weight=self.class_weight,
            bn_weight=self.bn_weight,
            flip=self.flip,
            precision=self.precision,
        )


SMALL = MultiTeacherConfig()
PRESETS: Mapping[str, MultiTeacherConfig] = MappingProxyType(
    {
        "small": SMALL,  # 100 Conv4 teachers of 32 pixels: under half an hour on one busy core
        # A dozen teachers of 16 pixels that know a handful of classes: half a processor minute.
        "tiny": replace(
            SMALL,
            images=3_000,
            steps=600,
            hidden=0,  # more was not measured on digits
            flip=False,
            save_every=300,
            answer_weight=0.0,
            feature_weight=1.0,
            flattening=0.25,
            serving_temperature=0.15,  # chosen likewise on held-out digits, easier to tell apart
        ),
    }
)


def configure(settings: Mapping[str, Any]) -> MultiTeacherConfig:
    """A config from plain settings, as a recipe carries them; `preset` is "small" by default.

    Raises:
        InvalidConfig: on an unknown preset or field, or a value that cannot be used.
    """
    return from_preset(
        settings,
        PRESETS,
        algorithm="multi_teacher",
        default="small",
        optional=("image_size", "channels"),
        choices=CHOICES,
    )
