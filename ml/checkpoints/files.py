"""Teachers in files: read what the airlock wrote, load it, check it, keep it; safetensors only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ml.backbones import Backbone, build
from ml.checkpoints.contracts import Fitted, Manifest
from ml.checkpoints.fitting import fit
from ml.errors import CheckpointMismatch, NoBatchNorm, NonFiniteOutput
from ml.tensor_files import write_tensors
from ml.types import Teacher

CHECK_BATCH_SIZE = 2


class CanonicalFile(NamedTuple):
    """A state dict as the airlock keeps it."""

    tensors: dict[str, Tensor]
    order: list[str] | None
    """Names as in the original file, where the file's metadata has them."""
    order_is_known: bool
    """Whether that is the order in which the network registered its layers."""


def read_canonical(path: Path) -> CanonicalFile:
    """Read a safetensors file, with or without the airlock's notes on the order of its tensors.

    Raises:
        CheckpointMismatch: if the file or its metadata is malformed.
    """
    return _with_order(*_read(path))


def load_teacher(path: Path, manifest: Manifest) -> Teacher:
    """Load a checkpoint as a frozen teacher on the CPU, in float32 whatever its dtype.

    Raises:
        CheckpointMismatch: if it does not fit the declared backbone.
        NoBatchNorm: if it has no running statistics.
        UnknownBackbone, InvalidConfig: if the manifest names no possible network.
    """
    stored, metadata = _read(path)
    tensors, order, order_is_known = _with_order(stored, metadata)
    fitted = fit(tensors, manifest, order=order, order_is_known=order_is_known)
    with torch.device("meta"):
        backbone = build(
            manifest.backbone,
            n_classes=len(manifest.class_names),
            channels=manifest.channels,
            image_size=manifest.image_size,
        )
    weights = {
        name: tensor.to(torch.float32).contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in fitted.tensors.items()
    }
    backbone.load_state_dict(weights, strict=True, assign=True)
    apply_options(backbone, {**_noted_options(metadata), **fitted.options})
    return Teacher(module=backbone.eval().requires_grad_(requires_grad=False), **asdict(manifest))


def apply_options(backbone: Backbone, options: Mapping[str, float]) -> None:
    """Set, in place, in what a network differs from the usual one of its kind.

    Raises:
        CheckpointMismatch: if an option is unknown, out of range, or none of this backbone's.
    """
    for name, value in options.items():
        if name == "bn_eps" and 0.0 < value < 1.0:
            for layer in _batch_norms(backbone):
                layer.eps = value
        elif name == "stem_relu" and hasattr(backbone.encoder, "stem_relu"):
            backbone.encoder.stem_relu = value != 0.0  # type: ignore[assignment]  # a plain flag
        else:
            raise CheckpointMismatch(f"The file's option {name}={value} fits no such backbone.")


def options_of(backbone: nn.Module) -> dict[str, float]:
    """What apply_options needs to make a new backbone of the same name compute like this one."""
    layers = _batch_norms(backbone)
    options = {"bn_eps": layers[0].eps} if layers else {}  # all of a network have the same
    stem_relu = getattr(getattr(backbone, "encoder", None), "stem_relu", None)
    return options if stem_relu is None else {**options, "stem_relu": float(stem_relu)}


def check_teacher(teacher: Teacher, *, rng: torch.Generator) -> None:
    """Answer one small batch of noise, so that a broken checkpoint is found before it is used.

    Args:
        teacher: as load_teacher returns it.
        rng: source of the noise.

    Raises:
        NoBatchNorm: if no BatchNorm layer has running statistics.
        NonFiniteOutput: if a logit is infinite or NaN.
        CheckpointMismatch: if there is not one logit per class.
    """
    if not any(layer.running_mean is not None for layer in _batch_norms(teacher.module)):
        raise NoBatchNorm
    side, channels = teacher.image_size, teacher.channels
    noise = torch.rand((CHECK_BATCH_SIZE, channels, side, side), generator=rng, device=rng.device)
    with torch.no_grad():
        logits = teacher.logits(noise.to(teacher.device))
    if logits.shape != (CHECK_BATCH_SIZE, teacher.n_classes):
        raise CheckpointMismatch(
            f"The network gives {logits.shape[-1]} logits, {teacher.n_classes} classes are named."
        )
    if not bool(torch.isfinite(logits).all()):
        raise NonFiniteOutput


def write_teacher(path: Path, fitted: Fitted, manifest: Manifest) -> None:
    """Keep a fitted checkpoint: canonical names, own dtypes, options and backbone in the metadata.

    What is written so loads by exact name.
    """
    contiguous = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in fitted.tensors.items()
    }
    metadata = {
        "backbone": manifest.backbone,
        "options": json.dumps(dict(fitted.options)),
        "order": json.dumps(list(fitted.tensors)),
        "order_is_known": "true",
    }
    write_tensors(path, contiguous, metadata)


def _batch_norms(module: nn.Module) -> Sequence[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointMismatch(f"The file is no readable safetensors: {error}.") from error


def _noted(metadata: Mapping[str, str], key: str) -> object:
    try:
        value: object = json.loads(metadata.get(key, "null"))
    except (ValueError, RecursionError) as error:
        raise CheckpointMismatch(f"The file's note {key!r} is no JSON.") from error
    return value


def _with_order(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> CanonicalFile:
    order = _noted(metadata, "order")
    if order is None:
        return CanonicalFile(tensors, None, order_is_known=False)
    if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
        raise CheckpointMismatch("The file's note 'order' is no list of names.")
    return CanonicalFile(tensors, order, order_is_known=metadata.get("order_is_known") == "true")


def _noted_options(metadata: Mapping[str, str]) -> Mapping[str, float]:
    options = _noted(metadata, "options")
    if options is None:
        return {}
    if not isinstance(options, dict) or not all(isinstance(v, float) for v in options.values()):
        raise CheckpointMismatch("The file's note 'options' is no table of numbers.")
    return options
