"""What a build delivers: an initialisation, and how it adapts to a support set.

Dims: C channels, S side length in pixels.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ml.backbones import Backbone, build
from ml.errors import CheckpointMismatch, InvalidConfig
from ml.projection import Projection, take_projection
from ml.tensor_files import write_tensors

FORMAT = "modelpool.meta-learner.1"

AdaptationKind = Literal["centroid", "prototype_fine_tune", "fine_tune"]
Centre = Literal["support", "none"]
BatchStatistics = Literal["blended", "support", "transductive", "running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """How a meta-learner becomes a classifier for one support set.

    Defaults are the serving default; docs/algorithms/free.md says how they were chosen.
    """

    kind: AdaptationKind = "centroid"
    """Nearest class mean; a head made of class means, then fine-tuned; or the published way."""
    steps: int = 10
    """SGD steps of the two fine-tuning kinds; 10 as published."""
    lr: float = 0.01
    """Their step size; 0.01 as published."""
    temperature: float = 0.25
    """Distances (of unit features) or logits are divided by it; smaller is more confident."""
    batch_statistics: BatchStatistics = "blended"
    """What BatchNorm normalises by: the support set's statistics, training's, a blend of the two,
    or those of whatever batch it sees."""
    centre: Centre = "support"
    """What nearest centroid takes from features before it compares their directions: the support
    set's mean, or nothing, where the features were learnt as directions."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(AdaptationKind):
            raise InvalidConfig(f"unknown adaptation {self.kind!r}")
        if self.batch_statistics not in get_args(BatchStatistics):
            raise InvalidConfig(f"unknown batch_statistics {self.batch_statistics!r}")
        if self.centre not in get_args(Centre):
            raise InvalidConfig(f"unknown centre {self.centre!r}")
        if self.steps < 0 or self.lr <= 0 or self.temperature <= 0:
            raise InvalidConfig("adaptation needs steps >= 0, lr > 0 and temperature > 0")


SERVING = Adaptation()
"""What a meta-learner does unless its recipe measured something better."""

PUBLISHED = Adaptation(
    kind="fine_tune", steps=10, lr=0.01, temperature=1.0, batch_statistics="transductive"
)
"""The papers' meta-test: 10 SGD steps at 0.01 on everything, BatchNorm over each batch."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MetaLearner:
    """Weights and the rule by which they adapt; a value, never written to."""

    backbone: str
    """A key of ml.backbones.BACKBONES."""
    n_way: int
    """Outputs of the trained head."""
    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tensors: Mapping[str, Tensor]
    """Parameters and buffers of the backbone, by name."""
    adaptation: Adaptation = SERVING
    projection: Projection | None = None
    """Nearest centroid compares the features after it; None compares them as they are."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(iter(self.tensors.values())).device

    def to(self, device: torch.device) -> "MetaLearner":
        """The same on a device."""
        return replace(
            self,
            tensors={name: tensor.to(device) for name, tensor in self.tensors.items()},
            projection=None if self.projection is None else self.projection.to(device),
        )

    def module(self) -> Backbone:
        """A module of its own holding copies of the tensors, in eval mode, without gradients.

        Raises:
            CheckpointMismatch: if the tensors do not fit the backbone.
        """
        with torch.device("meta"):
            module = build(
                self.backbone,
                n_classes=self.n_way,
                channels=self.channels,
                image_size=self.image_size,
            )
        copies = {name: tensor.clone() for name, tensor in self.tensors.items()}
        try:
            module.load_state_dict(copies, strict=True, assign=True)
        except RuntimeError as error:
            raise CheckpointMismatch(
                "the meta-learner's tensors do not fit its backbone"
            ) from error
        return module.eval().requires_grad_(requires_grad=False)


Offer = Callable[[int, MetaLearner], None]
"""Takes a run's step and the learner as it stands then, to look at or to choose among."""


def save_meta_learner(path: Path, meta_learner: MetaLearner) -> None:
    """Write a meta-learner as safetensors; everything but the tensors is JSON in the metadata."""
    described: dict[str, Any] = {
        "format": FORMAT,
        "backbone": meta_learner.backbone,
        "n_way": meta_learner.n_way,
        "image_size": meta_learner.image_size,
        "channels": meta_learner.channels,
        "mean": meta_learner.mean,
        "std": meta_learner.std,
        "adaptation": asdict(meta_learner.adaptation),
    }
    tensors = {n: t.detach().cpu().contiguous() for n, t in meta_learner.tensors.items()}
    if meta_learner.projection is not None:
        parts = meta_learner.projection.tensors()
        tensors |= {n: t.detach().cpu().contiguous() for n, t in parts.items()}
    # One entry only: safetensors writes several in random order, and equal meta-learners should be
    # equal files.
    write_tensors(path, tensors, {"meta_learner": json.dumps(described)})


def load_meta_learner(path: Path, device: torch.device | None = None) -> MetaLearner:
    """Read what save_meta_learner wrote.

    Args:
        path: a file of this version.
        device: where the tensors should lie; the CPU by default.

    Raises:
        CheckpointMismatch: if the file is no meta-learner of this version or its tensors do not
            fit the backbone it names.
    """
    try:
        with safe_open(path, framework="pt", device=str(device or "cpu")) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        described = json.loads(metadata.get("meta_learner", "{}"))
        if described.pop("format", None) != FORMAT:
            raise CheckpointMismatch(f"this file is no {FORMAT}; build the meta-learner again")
        described["mean"], described["std"] = tuple(described["mean"]), tuple(described["std"])
        described["adaptation"] = Adaptation(**described["adaptation"])
        projection = take_projection(tensors)
        meta_learner = MetaLearner(**described, tensors=tensors, projection=projection)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, InvalidConfig) as error:
        raise CheckpointMismatch("the meta-learner's file cannot be read") from error
    features = meta_learner.module().feature_dim
    if projection is not None:
        projection.check(features)
    return meta_learner
