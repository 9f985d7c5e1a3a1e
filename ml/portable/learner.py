"""What of a meta-learner or an adaptation is written down, and the archive it goes into."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from ml.classifiers import CentroidClassifier, Classifier
from ml.delivered import Delivered
from ml.ensemble import EnsembleLearner
from ml.errors import NotPortable
from ml.learner import MetaLearner
from ml.portable.graph import Operation, operations
from ml.portable.script import script

README = """A few-shot classifier from Modelpool. It needs Python 3.10, torch, and this folder.

    python predict.py {example}--query photos/

A line for each image of photos/ says its class and the probability. {note}Reading image files needs
Pillow. predict.py begins with how to use it in a program.
"""
EXAMPLE = "--support classes/ "
NOTE = "classes/ holds a folder of example images per class. "
ENCODER = "encoder."
EPOCH = (1980, 1, 1, 0, 0, 0)  # ZIP's earliest: equal learners are equal files


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Portable:
    """A nearest-centroid learner; one with class names is adapted already."""

    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_statistics: str
    centred: bool
    temperature: float
    class_names: tuple[str, ...] | None
    tensors: Mapping[str, Tensor]
    """The encoder's by their names, a projection's (ml.projection) where there is one; of an
    adaptation also `centre`, `prototypes` and `spread`."""
    encoder: nn.Module


def portable_learner(learner: Delivered) -> Portable:
    """A meta-learner, to be adapted elsewhere.

    Raises:
        NotPortable: an ensemble (its members are other people's models), or a learner that adapts
            in another way.
    """
    if isinstance(learner, EnsembleLearner):
        raise NotPortable(
            "an ensemble is made of the pool's own models, which nobody may take along"
        )
    adaptation = learner.adaptation
    if adaptation.kind != "centroid" or adaptation.batch_statistics == "transductive":
        raise NotPortable("only learners that compare images with class means can be taken along")
    module = learner.module()
    tensors = {f"{ENCODER}{n}": t for n, t in module.encoder.state_dict().items()}
    if learner.projection is not None:
        tensors |= learner.projection.tensors()
    return Portable(
        image_size=learner.image_size,
        channels=learner.channels,
        mean=learner.mean,
        std=learner.std,
        batch_statistics=adaptation.batch_statistics,
        centred=adaptation.centre == "support",
        temperature=adaptation.temperature,
        class_names=None,
        tensors=tensors,
        encoder=module.encoder,
    )


def portable_adaptation(
    learner: Delivered, classifier: Classifier, class_names: Sequence[str]
) -> Portable:
    """An adaptation: the learner with its classes placed.

    Raises:
        NotPortable: as `portable_learner`.
    """
    whole = portable_learner(learner)
    assert isinstance(learner, MetaLearner)
    assert isinstance(classifier, CentroidClassifier)
    tensors = {f"{ENCODER}{n}": t for n, t in classifier.encoder.state_dict().items()}
    tensors |= {name: getattr(classifier, name) for name in ("centre", "prototypes", "spread")}
    if learner.projection is not None:
        tensors |= learner.projection.tensors()
    return Portable(
        image_size=whole.image_size,
        channels=whole.channels,
        mean=whole.mean,
        std=whole.std,
        batch_statistics="running",
        centred=True,
        temperature=whole.temperature,
        class_names=tuple(class_names),
        tensors=tensors,
        encoder=classifier.encoder,
    )


def encoder_operations(portable: Portable) -> tuple[Operation, ...]:
    """The encoder, step by step."""
    return operations(
        portable.encoder,
        channels=portable.channels,
        image_size=portable.image_size,
        prefix=ENCODER,
    )


def archive(portable: Portable) -> bytes:
    """A zip of learner.safetensors, predict.py and README.txt; equal learners, equal bytes."""
    described: dict[str, Any] = {
        name: getattr(portable, name)
        for name in (
            "image_size",
            "channels",
            "mean",
            "std",
            "batch_statistics",
            "centred",
            "temperature",
        )
    }
    if portable.class_names is not None:
        described["classes"] = portable.class_names
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in portable.tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    adapts = portable.class_names is None
    readme = README.format(example=EXAMPLE if adapts else "", note=NOTE if adapts else "")
    files = {
        "learner.safetensors": save(tensors, {"portable": json.dumps(described)}),
        "predict.py": script(encoder_operations(portable)).encode(),
        "README.txt": readme.encode(),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:  # weights do not compress
        for name, data in files.items():
            target.writestr(zipfile.ZipInfo(name, EPOCH), data)
    return packed.getvalue()
