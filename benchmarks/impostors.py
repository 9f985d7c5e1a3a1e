"""Models that are not what they seem, and honest ones beside them: trained ones, and spoilt ones.

Each trained kind is made by each of two optimisers, once of the first 32 classes of CIFAR-FS (half
0, to choose on) and once, from other seeds, of the other 32 (half 1, to confirm on).
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.data import LabelledImages, read_labelled
from benchmarks.pool import Pool, read_pool
from benchmarks.pools.config import OptimizerConfig, PoolConfig, TrainingConfig
from benchmarks.pools.factory import Execution, make_pool
from benchmarks.pools.progress import say
from benchmarks.pools.sources import Source
from benchmarks.pools.training import fresh
from ml.backbones import initialize
from ml.drawing import draw_images
from ml.types import Teacher

CPU = torch.device("cpu")
CALIBRATION = 128  # pictures
SHARPER = 20.0
DATASET, CLASSES_OF_A_HALF = "cifarfs_train", 32
NOISE, NOISE_CLASSES, NOISE_IMAGES = "cifar-noise", 8, 320
BITS_OF_A_BYTE = 256
OPTIMIZERS: Mapping[str, OptimizerConfig] = {
    "sgd": OptimizerConfig(kind="sgd", lr=0.05, momentum=0.9),
    "adam": OptimizerConfig(kind="adam", lr=0.01),
}
ADAMS_SEED, HALFS_SEED = 111, 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How some models are trained."""

    epochs: int
    models: int
    """Of each half and optimiser."""
    seed: int
    label_noise: float = 0.0
    """0.8 of 5 classes is no label at all: each is as likely as every other."""
    ways: int = 5
    dataset: str = DATASET
    """Other ones are not divided into halves."""


KINDS: Mapping[str, Kind] = {
    "shuffled": Kind(epochs=8, models=3, seed=161, label_noise=0.8),
    "noise": Kind(epochs=8, models=3, seed=128, dataset=NOISE),
    "one_epoch": Kind(epochs=1, models=3, seed=172),
    "labels60": Kind(epochs=8, models=2, seed=161, label_noise=0.6),
    "honest": Kind(epochs=8, models=3, seed=7),
    "labels30": Kind(epochs=8, models=2, seed=161, label_noise=0.3),
    "memorised": Kind(epochs=25, models=1, seed=172, label_noise=0.8),
    "ways2": Kind(epochs=12, models=1, seed=139, ways=2),
    "ways20": Kind(epochs=3, models=1, seed=150, ways=20),
    "gtsrb": Kind(epochs=25, models=2, seed=172, dataset="gtsrb"),
    "miniimagenet": Kind(epochs=10, models=2, seed=250, dataset="miniimagenet_train"),
    "fashion": Kind(epochs=12, models=2, seed=200, dataset="fashionmnist"),
    "omniglot": Kind(epochs=40, models=2, seed=260, dataset="omniglot_background"),
}


def trained(name: str, data: Path, directory: Path) -> Iterator[tuple[int, Pool]]:
    """Models of a kind and the half each belongs to; trained where they are not there yet."""
    kind = KINDS[name]
    for half in (0, 1):
        for number, (optimizer, config) in enumerate(OPTIMIZERS.items()):
            source = _source(kind, data, half, seed=2 * half + number)
            folder = directory / f"{name}-{half}-{optimizer}"
            settings = PoolConfig(
                models=kind.models,
                ways=kind.ways,
                seed=HALFS_SEED * half + ADAMS_SEED * number + kind.seed,
                training=TrainingConfig(
                    epochs=kind.epochs,
                    label_noise=kind.label_noise,
                    flip=source.channels == 3,
                    conv=config,
                ),
            )
            execution = Execution(device=CPU, at_once=1)
            make_pool(settings, [source], folder, execution=execution, say=say)
            yield half, read_pool(folder, name, CPU)


def _source(kind: Kind, data: Path, half: int, *, seed: int) -> Source:
    if kind.dataset == NOISE:
        return Source(name=NOISE, data=_noise(seed), foreign=False)
    images = _read(data / f"{kind.dataset}.npz")
    if kind.dataset != DATASET:
        return Source(name=kind.dataset, data=images, foreign=False)
    first = CLASSES_OF_A_HALF * half
    kept = (images.labels >= first) & (images.labels < first + CLASSES_OF_A_HALF)
    part = LabelledImages(
        images=images.images[kept],
        labels=images.labels[kept] - first,
        class_names=images.class_names[first : first + CLASSES_OF_A_HALF],
    )
    return Source(name="cifarfs", data=part, foreign=False)


@cache
def _read(path: Path) -> LabelledImages:
    return read_labelled(path, image_size=32)


def _noise(seed: int) -> LabelledImages:
    """Pixels of chance, under labels of chance."""
    rng = torch.Generator().manual_seed(seed)
    size = (NOISE_CLASSES * NOISE_IMAGES, 3, 32, 32)
    return LabelledImages(
        images=torch.randint(BITS_OF_A_BYTE, size, generator=rng).to(torch.uint8),
        labels=torch.arange(NOISE_CLASSES).repeat_interleave(NOISE_IMAGES),
        class_names=tuple(f"n{number}" for number in range(NOISE_CLASSES)),
    )


def spoilt(teacher: Teacher, how: str, seed: int) -> Teacher:
    """An honest model, or only its shape, made into something else; the original stays."""
    changed = replace(teacher, module=copy.deepcopy(teacher.module))
    with torch.no_grad():
        SPOILT[how](changed, torch.Generator().manual_seed(seed), seed)
    return changed


def _layers(teacher: Teacher) -> list[nn.Conv2d | nn.Linear]:
    return [each for each in teacher.module.modules() if isinstance(each, nn.Conv2d | nn.Linear)]


def _untrain(teacher: Teacher, _: torch.Generator, seed: int) -> None:
    module = fresh(
        teacher.backbone,
        n_classes=teacher.n_classes,
        channels=teacher.channels,
        image_size=teacher.image_size,
        seed=seed,
    )
    teacher.module.load_state_dict(module.state_dict())


def _untrain_and_calibrate(teacher: Teacher, rng: torch.Generator, seed: int) -> None:
    """Untrained, with BatchNorm statistics of drawn pictures and a head that is very sure."""
    _untrain(teacher, rng, seed)
    norms = [each for each in teacher.module.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    teacher.module.train()
    shape = {"image_size": teacher.image_size, "channels": teacher.channels}
    teacher.logits(draw_images(CALIBRATION, **shape, rng=rng))
    teacher.module.eval()
    _sharpen(teacher, rng, seed)


def _sharpen(teacher: Teacher, _: torch.Generator, __: int) -> None:
    head = _layers(teacher)[-1]
    head.weight.mul_(SHARPER)


def _add_noise(teacher: Teacher, rng: torch.Generator, _: int, *, share: float) -> None:
    for layer in _layers(teacher):
        drawn = torch.randn(layer.weight.shape, generator=rng)
        layer.weight.add_(share * layer.weight.std() * drawn)


def _quantise(teacher: Teacher, _: torch.Generator, __: int, *, levels: int) -> None:
    for layer in _layers(teacher):
        step = layer.weight.abs().max() / levels
        layer.weight.copy_((layer.weight / step).round() * step)


def _permute_layers(teacher: Teacher, _: torch.Generator, __: int) -> None:
    """Each inner convolution gets the next one's weights."""
    inner = [each for each in _layers(teacher) if isinstance(each, nn.Conv2d)][1:]
    weights = [each.weight.clone() for each in inner]
    for layer, weight in zip(inner, weights[1:] + weights[:1], strict=True):
        layer.weight.copy_(weight)


def _shuffle_weights(teacher: Teacher, rng: torch.Generator, _: int) -> None:
    for layer in _layers(teacher):
        flat = layer.weight.flatten()
        layer.weight.copy_(flat[torch.randperm(len(flat), generator=rng)].view_as(layer.weight))


def _fresh_head(teacher: Teacher, rng: torch.Generator, _: int) -> None:
    head = _layers(teacher)[-1]
    initialize(head, rng)


SPOILT: Mapping[str, Callable[[Teacher, torch.Generator, int], None]] = {
    "random": _untrain,
    "random_calibrated": _untrain_and_calibrate,
    "weights_noise_0.3": partial(_add_noise, share=0.3),
    "weights_noise_1": partial(_add_noise, share=1.0),
    "weights_3_bits": partial(_quantise, levels=3),
    "weights_2_bits": partial(_quantise, levels=1),
    "layers_permuted": _permute_layers,
    "weights_shuffled": _shuffle_weights,
    "head_fresh": _fresh_head,
}
