"""A run's resumable state on disk: safetensors, with the scalars as JSON in its metadata."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ml.errors import CheckpointMismatch
from ml.tensor_files import write_tensors
from ml.types import Teacher, TrainingState

FORMAT = "modelpool.training-state.1"


def identity_of(config: Any, teachers: Sequence[Teacher]) -> str:
    """What must be equal for a state to fit: the config and the teachers' classes, in order."""
    pool = [[teacher.backbone, *teacher.class_names] for teacher in teachers]
    described = json.dumps([asdict(config), pool], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def save_state(path: Path, state: TrainingState) -> None:
    """Write a state; a reader sees the old file or the new one, never half of one."""
    written = path.with_name(path.name + ".part")
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    metadata = {"format": FORMAT, "scalars": json.dumps(dict(state.scalars))}
    write_tensors(written, tensors, metadata)
    written.replace(path)


def load_state(path: Path, device: torch.device | None = None) -> TrainingState:
    """Read what save_state wrote; every bit is as it was.

    Raises:
        CheckpointMismatch: if the file is no training state of this version.
    """
    try:
        with safe_open(path, framework="pt", device=str(device or "cpu")) as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointMismatch(f"this file is no {FORMAT}; start the build again")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return TrainingState(tensors=tensors, scalars=json.loads(metadata["scalars"]))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointMismatch("the training state cannot be read; start again") from error
