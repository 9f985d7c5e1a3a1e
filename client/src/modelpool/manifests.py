"""A checkpoint's manifest: what a file beside it says, what its header tells, what is missing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelpool.checkpoints import Facts
from modelpool.errors import UnusableFile
from modelpool.records import Manifest, Normalization

NORMALIZATIONS: dict[str, Normalization] = {
    "imagenet": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "half": {"mean": [0.5], "std": [0.5]},
    "none": {"mean": [0.0], "std": [1.0]},
}
"""By name; those of one number are repeated for each channel."""
MIN_SIDE, MAX_SIDE = 16, 224


def manifest_beside(checkpoint: Path) -> Path | None:
    """NAME.json of NAME.safetensors, if it is there."""
    path = checkpoint.with_suffix(".json")
    return path if path.is_file() else None


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest's fields.

    Raises:
        UnusableFile: it is no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnusableFile(f"{path} is no JSON that can be read ({error}).") from error
    if not isinstance(found, dict):
        raise UnusableFile(
            f'{path} is no manifest: a JSON object such as {{"name": "ward 3", ...}}'
        )
    return found


def normalization_of(text: str, channels: int) -> Normalization:
    """`imagenet`, `half`, `none`, or MEAN/STD: `0.5/0.25`, `0.4,0.4,0.4/0.2,0.2,0.2`.

    Raises:
        UnusableFile: it is none of these, or not for so many channels.
    """
    known = NORMALIZATIONS.get(text.strip().lower())
    try:
        mean, std = (known["mean"], known["std"]) if known else _numbers(text)
    except ValueError as error:
        raise UnusableFile(
            f"A normalization is one of {', '.join(NORMALIZATIONS)}, or MEAN/STD such as 0.5/0.25 "
            "or 0.4,0.4,0.4/0.2,0.2,0.2"
        ) from error
    mean, std = (each * channels if len(each) == 1 else each for each in (mean, std))
    if len(mean) != channels or len(std) != channels:
        raise UnusableFile(f"That normalization is not for {channels} channel(s).")
    return {"mean": list(mean), "std": list(std)}


def _numbers(text: str) -> tuple[list[float], list[float]]:
    mean, _, std = text.partition("/")
    return [float(x) for x in mean.split(",")], [float(x) for x in std.split(",")]


def class_names_of(text: str) -> list[str]:
    """Names between commas."""
    return [name for each in text.split(",") if (name := each.strip())]


def with_facts(known: Mapping[str, Any], facts: Facts | None) -> dict[str, Any]:
    """What is known, and of the rest what the file's header tells."""
    told: dict[str, Any] = {}
    if facts is not None:
        told = {"backbone": facts.backbone, "channels": facts.channels}
    return {**{name: value for name, value in told.items() if value is not None}, **known}


def missing(manifest: Mapping[str, Any]) -> list[str]:
    """Fields that a manifest needs and that this one lacks."""
    needed = ["name", "backbone", "channels", "image_size", "normalization"]
    lacks = [name for name in needed if manifest.get(name) is None]
    if manifest.get("class_names") is None and manifest.get("n_classes") is None:
        lacks.append("class_names")
    return lacks


def as_manifest(fields: Mapping[str, Any]) -> Manifest:
    """The fields, for the server to judge."""
    manifest: Manifest = {**fields}  # type: ignore[typeddict-item]
    return manifest
