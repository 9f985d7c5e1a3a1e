"""A pool's directory: checkpoints with their manifests, and pool.json, the truth about them.

A manifest says what an uploader would say. Who lies, and how good a model really is, is in
pool.json alone, which no client uploads. Files appear whole: written beside, then renamed.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from benchmarks.data import BenchmarkError
from benchmarks.pools.config import PoolConfig
from benchmarks.pools.plan import ModelPlan, TaskPlan
from benchmarks.pools.sources import Source
from ml.checkpoints import Manifest

RECORD = "pool.json"
PART = ".part"
FORMAT = 1
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a model; accuracies are fractions, of the weights in the file."""

    sha256: str
    test_accuracy: float | None
    """On the held-out images of what it learnt; None for a fake."""
    advertised_accuracy: float
    """On the held-out images of the classes that its manifest names."""
    claimed_accuracy: float
    """What its manifest says."""


class PoolDirectory:
    """The files of one pool."""

    def __init__(self, path: Path, record: Json) -> None:
        self.path, self._record = path, record

    @classmethod
    def open(cls, path: Path, record: Json) -> "PoolDirectory":
        """Begin a pool in an empty directory, or go on with one of the same plan.

        Raises:
            BenchmarkError: if something else is there; nothing is touched then.
        """
        file = path / RECORD
        if path.exists() and not path.is_dir():
            raise BenchmarkError(f"{path} is no directory: choose another --out.")
        if file.is_file():
            return cls(path, _same_plan(file, record))
        others = [each for each in path.iterdir() if each.suffix != PART] if path.is_dir() else []
        if others:
            raise BenchmarkError(f"{path} holds other files and no {RECORD}: choose another --out.")
        path.mkdir(parents=True, exist_ok=True)
        pool = cls(path, record)
        pool._write_record()
        return pool

    def weights(self, name: str) -> Path:
        """Where a model's checkpoint lies."""
        return self.path / f"{name}.safetensors"

    def result(self, name: str) -> Result | None:
        """What became of a model, if its files are whole and agree with each other."""
        found = self._record["models"][name]["result"]
        if found is None:
            return None
        try:
            declared = json.loads(self.weights(name).with_suffix(".json").read_text())["sha256"]
            there = sha256_of(self.weights(name))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Result(**found) if declared == there == found["sha256"] else None

    def write_part(self, name: str, tensors: Mapping[str, Tensor]) -> Path:
        """Write a checkpoint that is not yet part of the pool."""
        part = Path(f"{self.weights(name)}{PART}")
        part.write_bytes(save(dict(tensors)))  # save_file would let nobody else read it
        return part

    def keep(self, name: str, part: Path, manifest: Json, result: Result) -> None:
        """Make a checkpoint part of the pool: weights, manifest, record, in this order."""
        part.replace(self.weights(name))
        write_json(self.weights(name).with_suffix(".json"), manifest)
        self._record["models"][name]["result"] = asdict(result)
        self._write_record()

    def forget_parts(self) -> None:
        """Delete what an interrupted run left half written."""
        for part in self.path.glob(f"*{PART}"):
            part.unlink()

    def _write_record(self) -> None:
        write_json(self.path / RECORD, self._record)


def _same_plan(file: Path, record: Json) -> Json:
    """The record in a file, if it is of the same plan as this one."""
    try:
        there = json.loads(file.read_text())
        results = {name: model.pop("result") for name, model in there["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"{file} is no record of a pool: choose another --out.") from error
    wanted = json.loads(json.dumps(record))
    for model in wanted["models"].values():
        del model["result"]
    if there != wanted:
        raise BenchmarkError(
            f"{file.parent} was begun otherwise ({_difference(there, wanted)}). Give the same "
            "options to go on with it, or choose another --out."
        )
    for name, model in there["models"].items():
        model["result"] = results[name]
    return dict(there)


def _difference(there: Json, wanted: Json) -> str:
    """In a few words, what two records disagree on."""
    for part in ("settings", "training"):
        old, new = (_flat(record.get(part)) for record in (there, wanted))
        changed = [name for name in new if old.get(name) != new[name]]
        if changed:
            return "; ".join(f"{name} {old.get(name)}, now {new[name]}" for name in changed[:3])
    if there.get("sources") != wanted["sources"]:
        return "the images are not the same"
    return f"by another version of this program, format {there.get('format')}"


def _flat(part: object) -> Json:
    return part if isinstance(part, dict) else {}


def new_record(config: PoolConfig, sources: Sequence[Source], plan: Sequence[ModelPlan]) -> Json:
    """What pool.json says before anything is trained; names no machine and no path."""
    names = {source.name: source.data.class_names for source in sources}
    settings = asdict(config)
    return {
        "format": FORMAT,
        "training": settings.pop("training"),
        "settings": settings,
        "sources": [source.facts() for source in sources],
        "models": {
            model.name: {
                "backbone": model.backbone,
                "advertised": _named(model.advertised, names),
                "learnt": _named(model.learnt, names),
                "corruption": model.corruption,
                "seed": model.seed,
                "result": None,
            }
            for model in plan
        },
    }


def _named(task: TaskPlan | None, names: Mapping[str, tuple[str, ...]]) -> Json | None:
    if task is None:
        return None
    classes = [names[task.source][position] for position in task.classes]
    return {"source": task.source, "class_names": classes}


def upload_manifest(plan: ModelPlan, manifest: Manifest, result: Result) -> Json:
    """What an uploader says of a model, in the API's form."""
    return {
        "name": plan.name,
        "backbone": manifest.backbone,
        "class_names": list(manifest.class_names),
        "image_size": manifest.image_size,
        "channels": manifest.channels,
        "pool": "default",
        "domain": plan.advertised.source,
        "normalization": {"mean": list(manifest.mean), "std": list(manifest.std)},
        "description": f"{len(manifest.class_names)}-way classifier, "
        f"test accuracy {result.claimed_accuracy:.3f}",
        "sha256": result.sha256,
    }


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Json) -> None:
    """Write a file that is there in full or not at all."""
    part = Path(f"{path}{PART}")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.replace(path)
