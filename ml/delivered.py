"""Whatever a build delivered, by its file's format: one network that adapts, or an ensemble."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ml import ensemble
from ml.ensemble import EnsembleLearner, load_ensemble, save_ensemble
from ml.errors import CheckpointMismatch
from ml.learner import MetaLearner, load_meta_learner, save_meta_learner

Delivered = MetaLearner | EnsembleLearner


def save_delivered(path: Path, learner: Delivered) -> None:
    """Write either kind as one safetensors file."""
    if isinstance(learner, EnsembleLearner):
        save_ensemble(path, learner)
    else:
        save_meta_learner(path, learner)


def load_delivered(path: Path, device: torch.device | None = None) -> Delivered:
    """Read what save_delivered wrote.

    Args:
        path: a file of this version.
        device: where the tensors should lie; the CPU by default.

    Raises:
        CheckpointMismatch: if the file is neither kind, or its tensors do not fit their backbones.
    """
    if format_of(path) == ensemble.FORMAT:
        return load_ensemble(path, device)
    return load_meta_learner(path, device)


def format_of(path: Path) -> object:
    """What the file says it is.

    Raises:
        CheckpointMismatch: if it is no safetensors file with a JSON note of what it is.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {}).get("meta_learner", "{}"))
        return described.get("format")
    except (SafetensorError, OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointMismatch("the meta-learner's file cannot be read") from error
