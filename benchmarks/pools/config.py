"""Every number of a pool as a named field; what is written here is the published protocol.

Sources: the released code of FREE (Wei et al. 2024) and PURER (Hu et al. 2023), which pre-train
alike; the untrusted models of TEAPOT (Hu et al. 2023, arXiv 2311.14756).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.data import BenchmarkError
from ml.backbones import BACKBONES, MAX_IMAGE_SIZE, MIN_IMAGE_SIZE

Classes = Literal["overlapping", "disjoint"]
Values = tuple[float, ...]

NORMALIZATIONS: Mapping[str, tuple[Values, Values]] = {
    "cifar": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "neutral": ((0.5,), (0.5,)),
}
"""Mean and std per channel of images in [0, 1]; a single number stands for every channel."""

CIFAR_SIZE = 32
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """How the weights of one kind of backbone move."""

    kind: Literal["adam", "sgd"]
    lr: float
    momentum: float = 0.0
    """Of SGD."""
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    """Epochs after which the learning rate is multiplied by gamma."""
    gamma: float = 1.0


CONV = OptimizerConfig(kind="adam", lr=0.01)
RESNET = OptimizerConfig(
    kind="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4, milestones=(30, 50, 80), gamma=0.2
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How one classifier is trained."""

    epochs: int = 60
    batch_size: int = 128
    max_grad_norm: float = 50.0
    """Longer gradients are scaled down to this, over all weights of a model."""
    train_share: float = 0.8
    """Of each class, from its first image on; the rest is the model's own test set."""
    flip: bool = False
    """Whether training images are mirrored at random; published: no augmentation."""
    label_noise: float = 0.0
    """Share of the training labels that are replaced by another class of the task."""
    conv: OptimizerConfig = CONV
    resnet: OptimizerConfig = RESNET

    def optimizer_of(self, backbone: str) -> OptimizerConfig:
        """Conv4s learn by Adam, everything else by SGD."""
        return self.conv if backbone.startswith("conv") else self.resnet


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """What a pool consists of.

    Raises:
        BenchmarkError: if a number makes no pool; the message says what to do.
    """

    models: int | None = None
    """None: 100, or as many as there are disjoint groups."""
    ways: int = 5
    backbones: tuple[str, ...] = ("conv4",)
    """Each model draws one, uniformly."""
    classes: Classes = "overlapping"
    image_size: int = 32
    channels: int | None = None
    """None: as each source has them."""
    normalization: tuple[Values, Values] | None = None
    """None: by source, see `normalization_of`."""
    images_per_class: int | None = None
    """The first so many of each class; None: all."""
    fake: float = 0.0
    """Share of the models that are untrained but claim an accuracy."""
    mislabelled: float = 0.0
    """Share of the models that learnt another source's classes than they name."""
    claimed_accuracy: tuple[float, float] = (0.75, 0.95)
    """What a fake claims, uniformly between these; as honest Conv4s on CIFAR-FS reach."""
    seed: int = 0
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        for holds, advice in self._conditions():
            if not holds:
                raise BenchmarkError(advice)

    def _conditions(self) -> list[tuple[bool, str]]:
        unknown = [name for name in self.backbones if name not in BACKBONES]
        training = self.training
        return [
            (self.models is None or self.models >= 1, "A pool needs at least 1 model (--models)."),
            (self.ways >= 2, "A classifier needs at least 2 classes (--ways)."),
            (bool(self.backbones), f"Name a backbone: {', '.join(BACKBONES)}."),
            (not unknown, f"No backbone {', '.join(unknown)}: there are {', '.join(BACKBONES)}."),
            (len(set(self.backbones)) == len(self.backbones), "A backbone is named twice."),
            (
                MIN_IMAGE_SIZE <= self.image_size <= MAX_IMAGE_SIZE,
                f"--image-size must be {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE} pixels.",
            ),
            (self.channels in (None, 1, 3), "--channels must be 1 or 3."),
            (
                self.images_per_class is None or self.images_per_class >= 2,
                "A class needs at least 2 images (--images-per-class): one to train, one to test.",
            ),
            (
                min(self.fake, self.mislabelled) >= 0 and self.fake + self.mislabelled <= 1,
                "--fake and --mislabelled are shares: from 0 to 1, and together at most 1.",
            ),
            (0 <= self.seed <= LARGEST_SEED, f"--seed must be 0 to {LARGEST_SEED}."),
            (training.epochs >= 1, "--epochs must be at least 1."),
            (training.batch_size >= 2, "A batch needs at least 2 images, for BatchNorm."),
            (0 <= training.label_noise < 1, "--label-noise is a share: from 0 to below 1."),
            (0 < training.train_share < 1, "The share to train on lies between 0 and 1."),
            (training.max_grad_norm > 0, "The gradient norm must be positive."),
        ]

    def normalization_of(self, source: str, channels: int) -> tuple[Values, Values]:
        """Mean and std for a source: CIFAR's for CIFAR's own size, else ImageNet's; grey 0.5.

        Raises:
            BenchmarkError: if the numbers given do not fit to so many channels.
        """
        mean, std = self.normalization or NORMALIZATIONS[self._usual(source, channels)]
        if not {len(mean), len(std)} <= {1, channels}:
            raise BenchmarkError(
                f"{source} has {channels} channel(s), --normalization has {len(mean)} and "
                f"{len(std)} numbers: give one or {channels} of each, or choose --channels."
            )
        return mean * (channels // len(mean)), std * (channels // len(std))

    def _usual(self, source: str, channels: int) -> str:
        if channels == 1:
            return "neutral"
        is_cifar = "cifar" in source.lower() and self.image_size == CIFAR_SIZE
        return "cifar" if is_cifar else "imagenet"
