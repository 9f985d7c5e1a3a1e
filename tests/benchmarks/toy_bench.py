"""A pool and images small enough to measure in a second, as files."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.recipe import Recipe
from ml.backbones import build, initialize

SIDE, CLASSES, PER_CLASS = 16, 6, 10


def write_data(directory: Path, dataset: str = "toy") -> Path:
    """DATASET_val.npz and DATASET_test.npz: each class has its own mean grey, plus noise."""
    directory.mkdir(parents=True, exist_ok=True)
    for seed, suffix in enumerate(("val", "test")):
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(CLASSES), PER_CLASS)
        grey = 20 + 40 * labels[:, None, None, None]
        noise = rng.integers(-15, 16, (len(labels), SIDE, SIDE, 1))
        np.savez(
            directory / f"{dataset}_{suffix}.npz",
            images=np.clip(grey + noise, 0, 255).astype(np.uint8),
            labels=labels,
            class_names=np.array([f"grey {i}" for i in range(CLASSES)]),
        )
    return directory


def write_pool(directory: Path, models: int = 3, *, n_classes: int = 3) -> Path:
    """Randomly initialised conv4 teachers with manifests."""
    directory.mkdir(parents=True, exist_ok=True)
    for seed in range(models):
        module = build("conv4", n_classes=n_classes, channels=1, image_size=SIDE)
        initialize(module, torch.Generator().manual_seed(seed))
        path = directory / f"model-{seed}.safetensors"
        save_file({name: t.contiguous() for name, t in module.state_dict().items()}, path)
        manifest = {
            "name": path.stem,
            "backbone": "conv4",
            "class_names": [f"class {seed} {i}" for i in range(n_classes)],
            "image_size": SIDE,
            "channels": 1,
            "normalization": {"mean": [0.5], "std": [0.25]},
        }
        path.with_suffix(".json").write_text(json.dumps(manifest))
    return directory


def toy_recipe(kind: str = "pixels", **changes: object) -> Recipe:
    """A recipe over the files above, 3-way."""
    settings: dict[str, object] = {
        "name": f"toy_{kind}",
        "title": f"toy {kind}",
        "dataset": "toy",
        "pool": "toy_pool",
        "subject": {"kind": kind},
        "protocols": ("centroid",),
        "shots": (1, 2),
        "ways": 3,
        "queries": 4,
        "episodes": 6,
    }
    return Recipe(**(settings | changes))
