"""A pool's teachers kept side by side: the meta-learner that needs no training, and its file.

The members are frozen, so requests share their modules; ml/fewshot_ensemble.py asks them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ml.backbones import build
from ml.canvas import choose_canvas
from ml.checkpoints import Manifest, apply_options, options_of
from ml.errors import CheckpointMismatch, InvalidConfig, MlError
from ml.tensor_files import write_tensors
from ml.types import Teacher

FORMAT = "modelpool.ensemble.1"
BACKBONE = "ensemble"  # in records, where pool.domain.ENSEMBLE knows it; no key of BACKBONES
MALFORMED = (
    SafetensorError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MlError,
)
"""What reading a file that nobody here wrote can raise."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EnsembleLearner:
    """Teachers whose answers, side by side, place an image; a value, never written to."""

    members: tuple[Teacher, ...]
    """On one device. Their class names are no more than numbers: only the outputs count."""
    teachers_asked: int
    """How many members answer a request where it does not say itself; 0 is all."""
    answer_temperature: float
    """Of the members' softmax."""
    temperature: float = 0.35
    """Distances of unit vectors are divided by it; smaller is more confident. Chosen for
    calibration on CIFAR-FS validation classes: docs/EXPERIMENTS.md, 2026-11-21."""

    def __post_init__(self) -> None:
        if not self.members or self.teachers_asked < 0:
            raise InvalidConfig("an ensemble needs members, and asks 0 (all) of them or more")
        if not 0 < self.answer_temperature < math.inf or not 0 < self.temperature < math.inf:
            raise InvalidConfig("an ensemble's temperatures must be positive")

    @property
    def backbone(self) -> str:
        """What records call it."""
        return BACKBONE

    @property
    def image_size(self) -> int:
        """The members' most common side in pixels."""
        return choose_canvas(self.members, image_size=None, channels=None).image_size

    @property
    def channels(self) -> int:
        """The most that any member has."""
        return max(member.channels for member in self.members)

    @property
    def largest_side(self) -> int:
        """Images of this side lose nothing that any member could see."""
        return max(member.image_size for member in self.members)

    @property
    def device(self) -> torch.device:
        """Where the members lie."""
        return self.members[0].device


def nameless(teacher: Teacher) -> Teacher:
    """The same frozen network without its classes' names, which serving has no use for."""
    return replace(teacher, class_names=numbers(teacher.n_classes))


def numbers(n_classes: int) -> tuple[str, ...]:
    """What a member's classes are called."""
    return tuple(map(str, range(n_classes)))


# The file.


def save_ensemble(path: Path, learner: EnsembleLearner) -> None:
    """Write an ensemble as one safetensors file; everything but the tensors is JSON in it."""
    described: dict[str, Any] = {
        "format": FORMAT,
        "teachers_asked": learner.teachers_asked,
        "answer_temperature": learner.answer_temperature,
        "temperature": learner.temperature,
        "members": [describe(member) for member in learner.members],
    }
    tensors = {
        tensor_name(place, name): tensor.detach().cpu().contiguous()
        for place, member in enumerate(learner.members)
        for name, tensor in member.module.state_dict().items()
    }
    # One entry only: equal ensembles should be equal files (see ml/learner.py).
    write_tensors(path, tensors, {"meta_learner": json.dumps(described)})


def describe(member: Teacher) -> dict[str, Any]:
    """All of a member but its tensors."""
    return {
        "backbone": member.backbone,
        "n_classes": member.n_classes,
        "image_size": member.image_size,
        "channels": member.channels,
        "mean": member.mean,
        "std": member.std,
        "options": options_of(member.module),
    }


def tensor_name(place: int, name: str) -> str:
    """What a member's tensor is called in the file."""
    return f"member/{place}/{name}"


def load_ensemble(path: Path, device: torch.device | None = None) -> EnsembleLearner:
    """Read what save_ensemble wrote.

    Args:
        path: a file of this version.
        device: where the members should lie; the CPU by default.

    Raises:
        CheckpointMismatch: if the file is no ensemble of this version, or a member's tensors do
            not fit its backbone.
    """
    try:
        with safe_open(path, framework="pt", device=str(device or "cpu")) as file:
            described = json.loads((file.metadata() or {}).get("meta_learner", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if described["format"] != FORMAT:
            raise CheckpointMismatch(f"this file is no {FORMAT}; build the ensemble again")
        members = members_of(described["members"], tensors)
        return EnsembleLearner(
            members=members,
            teachers_asked=int(described["teachers_asked"]),
            answer_temperature=float(described["answer_temperature"]),
            temperature=float(described["temperature"]),
        )
    except CheckpointMismatch:
        raise
    except MALFORMED as error:
        raise CheckpointMismatch("the ensemble's file cannot be read") from error


def members_of(
    described: Sequence[Mapping[str, Any]], tensors: dict[str, Tensor]
) -> tuple[Teacher, ...]:
    """The members whose tensors these are; empties `tensors`.

    Raises:
        CheckpointMismatch: if tensors are missing, left over, or do not fit.
        InvalidConfig, UnknownBackbone: if a member is no possible network.
    """
    shares: list[dict[str, Tensor]] = [{} for _ in described]
    for name in list(tensors):
        front, place, rest = name.split("/", 2)
        if front != "member" or not 0 <= int(place) < len(shares):
            raise CheckpointMismatch("the ensemble's file holds tensors of no member")
        shares[int(place)][rest] = tensors.pop(name)
    return tuple(map(member_of, described, shares))


def member_of(described: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Teacher:
    """One member as a frozen network; it shares memory with the tensors."""
    mean, std = tuple(map(float, described["mean"])), tuple(map(float, described["std"]))
    if not all(map(math.isfinite, (*mean, *std))):
        raise CheckpointMismatch("a member's normalisation is not finite")
    with torch.device("meta"):
        module = build(
            described["backbone"],
            n_classes=described["n_classes"],
            channels=described["channels"],
            image_size=described["image_size"],
        )
    expected = {name: tensor.dtype for name, tensor in module.state_dict().items()}
    if {name: tensor.dtype for name, tensor in tensors.items()} != expected:
        raise CheckpointMismatch("a member's tensors do not fit its backbone")
    try:
        module.load_state_dict(dict(tensors), strict=True, assign=True)
    except RuntimeError as error:
        raise CheckpointMismatch("a member's tensors do not fit its backbone") from error
    apply_options(module, described["options"])
    manifest = Manifest(  # refuses a normalisation that cannot be
        backbone=described["backbone"],
        class_names=numbers(described["n_classes"]),
        image_size=described["image_size"],
        channels=described["channels"],
        mean=mean,
        std=std,
    )
    return Teacher(module=module.eval().requires_grad_(requires_grad=False), **asdict(manifest))
