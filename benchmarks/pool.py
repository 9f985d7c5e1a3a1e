"""A directory of checkpoints with manifests, read as the teachers a measurement is made over."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import BenchmarkError
from ml.checkpoints import Manifest, load_teacher
from ml.errors import MlError
from ml.types import Teacher


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pool:
    """Teachers in the order of their files' names."""

    name: str
    """What the recipe calls it."""
    teachers: tuple[Teacher, ...]
    teacher_names: tuple[str, ...]
    sha256: str
    """Over every checkpoint's and manifest's bytes: equal pools, equal numbers."""

    def facts(self) -> dict[str, str | int]:
        """What a result says about its pool."""
        return {"name": self.name, "models": len(self.teachers), "sha256": self.sha256}


def find_pool(directory: Path, name: str) -> Path:
    """The pool `name` in a directory of pools, or the directory itself if it holds checkpoints.

    Raises:
        BenchmarkError: if there is neither.
    """
    for candidate in (directory / name, directory):
        if candidate.is_dir() and any(candidate.glob("*.safetensors")):
            return candidate
    raise BenchmarkError(
        f"{directory} holds no checkpoint (NAME.safetensors) and no pool {name!r}: give the "
        "directory of that pool, or the one above it, as --pool."
    )


def read_pool(directory: Path, name: str, device: torch.device) -> Pool:
    """Load every NAME.safetensors that NAME.json describes.

    Args:
        directory: of the files.
        name: what the recipe calls this pool.
        device: where the teachers should compute.

    Raises:
        BenchmarkError: if a manifest is missing or unusable, or a checkpoint does not fit it.
    """
    digest = hashlib.sha256()
    names, teachers = [], []
    for path in sorted(directory.glob("*.safetensors")):
        manifest = path.with_suffix(".json")
        if not manifest.is_file():
            raise BenchmarkError(f"{path} has no manifest: put {manifest.name} beside it.")
        for file in (path, manifest):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        try:
            teacher = load_teacher(path, manifest_of(json.loads(manifest.read_text())))
        except (MlError, ValueError, KeyError, TypeError) as error:
            raise BenchmarkError(
                f"{path} and its manifest do not fit together: {error}. Mend or remove them."
            ) from error
        names.append(path.stem)
        teachers.append(replace(teacher, module=teacher.module.to(device)))
    if not teachers:
        raise BenchmarkError(f"{directory} holds no NAME.safetensors with its NAME.json.")
    return Pool(
        name=name,
        teachers=tuple(teachers),
        teacher_names=tuple(names),
        sha256=digest.hexdigest(),
    )


def manifest_of(described: Mapping[str, Any]) -> Manifest:
    """The part of an upload's manifest that says what the network is.

    Raises:
        KeyError, TypeError, ValueError: if a needed field is missing or has the wrong form.
        InvalidConfig: if the normalisation does not fit the channels.
    """
    names = described.get("class_names") or map(str, range(int(described["n_classes"])))
    normalization = described["normalization"]
    return Manifest(
        backbone=described["backbone"],
        class_names=tuple(names),
        image_size=described["image_size"],
        channels=described.get("channels", 3),
        mean=tuple(normalization["mean"]),
        std=tuple(normalization["std"]),
    )
