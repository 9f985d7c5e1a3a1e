"""Pool models as the algorithms want them: the only translation from `pool` to `ml`."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ml.checkpoints import Manifest, load_teacher
from ml.types import Teacher
from pool.database.tables import BuildModelRow, ModelRow
from pool.errors import ObjectMissing
from pool.storage.store import ObjectStore, model_key


def manifest_of(model: ModelRow) -> Manifest:
    """What `ml` needs to know of a pool model."""
    return Manifest(
        backbone=model.backbone,
        class_names=tuple(model.class_names),
        image_size=model.image_size,
        channels=model.channels,
        mean=tuple(model.mean),
        std=tuple(model.std),
    )


def load_teachers(
    snapshot: Sequence[BuildModelRow], store: ObjectStore, workspace: Path, device: torch.device
) -> list[Teacher]:
    """The snapshot's models as frozen teachers on a device, in its order.

    Raises:
        ObjectMissing: a model's weights are gone or are not those of the snapshot.
    """
    teachers = []
    path = workspace / "teacher.safetensors"
    for each in snapshot:
        store.fetch(model_key(each.model_id), path)
        if file_sha256(path) != each.canonical_sha256:
            raise ObjectMissing(f"The stored weights of model {each.model_id} have changed.")
        teacher = load_teacher(path, manifest_of(each.model))
        teachers.append(replace(teacher, module=teacher.module.to(device)))
        path.unlink()
    return teachers


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
