"""From a plan to a directory of checkpoints: train, test what was written, keep.

Dims: I images, C channels, S side length.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.pools.at_once import Shape, choose_at_once
from benchmarks.pools.config import PoolConfig
from benchmarks.pools.files import (
    PoolDirectory,
    Result,
    new_record,
    sha256_of,
    upload_manifest,
)
from benchmarks.pools.plan import CORRUPTIONS, ModelPlan, TaskPlan, draw_plan
from benchmarks.pools.progress import PoolProgress, Say
from benchmarks.pools.sources import Source, Split, split_rows, split_task
from benchmarks.pools.training import TrainingSet, fresh, train_together
from ml.backbones import build
from ml.checkpoints import Manifest, check_teacher, load_teacher
from ml.types import Teacher, fit_images, normalize

CHUNK = 256  # images per forward pass
PROBE_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a pool is computed, which changes rounding at most: no part of its settings."""

    device: torch.device
    at_once: int | None = None
    """Models trained together; None: as many as is fastest, found out by trying."""


def make_pool(
    config: PoolConfig,
    sources: Sequence[Source],
    directory: Path,
    *,
    execution: Execution,
    say: Say,
) -> None:
    """Make a pool, or what is missing of it.

    Raises:
        BenchmarkError: if the sources do not suffice, or another pool is in the directory.
        MlError: if a backbone cannot be built for these images, or a trained model is unusable.
    """
    plan = draw_plan(config, sources)
    factory = Factory(config, sources)
    for model in plan:
        factory.check(model)
    pool = PoolDirectory.open(directory, new_record(config, sources, plan))
    pending = [model for model in plan if pool.result(model.name) is None]
    say(summary(plan, there=len(plan) - len(pending)))
    progress = PoolProgress(total=len(plan), done=len(plan) - len(pending), say=say)
    try:
        for group in factory.groups(pending, execution):
            for model, tensors in factory.make(group, execution.device, progress):
                result = factory.keep(pool, model, tensors, execution.device)
                progress.model_done(model.name, note(model, result))
    finally:
        pool.forget_parts()


def summary(plan: Sequence[ModelPlan], *, there: int) -> str:
    """What is going to be made, in a line."""
    kinds = [model.corruption for model in plan]
    corrupt = [f"{n} {kind}" for kind in CORRUPTIONS if (n := kinds.count(kind))]
    already = [f"{there} there already"] if there else []
    return ", ".join([f"{len(plan)} models", *corrupt, *already])


def note(model: ModelPlan, result: Result) -> str:
    """How good a model is, and whether it lies about it, in a few words."""
    measured = result.test_accuracy
    accuracy = result.advertised_accuracy if measured is None else measured
    return f"test accuracy {accuracy:.3f}" + (f" ({model.corruption})" if model.corruption else "")


class Factory:
    """Makes models of some sources, by some settings."""

    def __init__(self, config: PoolConfig, sources: Sequence[Source]) -> None:
        self._config = config
        self._sources: Mapping[str, Source] = {source.name: source for source in sources}

    def check(self, model: ModelPlan) -> None:
        """Find out before any training whether a model can be built and described."""
        manifest = self.manifest(model)
        with torch.device("meta"):
            build(
                model.backbone,
                n_classes=len(manifest.class_names),
                channels=manifest.channels,
                image_size=manifest.image_size,
            )

    def manifest(self, model: ModelPlan) -> Manifest:
        """What a model says that it is."""
        source = self._sources[model.advertised.source]
        mean, std = self._config.normalization_of(source.name, source.channels)
        return Manifest(
            backbone=model.backbone,
            class_names=tuple(source.data.class_names[i] for i in model.advertised.classes),
            image_size=self._config.image_size,
            channels=source.channels,
            mean=mean,
            std=std,
        )

    def groups(
        self, models: Sequence[ModelPlan], execution: Execution
    ) -> Iterator[tuple[ModelPlan, ...]]:
        """Models that can be trained together, in the order of the plan."""
        alike: dict[tuple[object, ...], list[ModelPlan]] = defaultdict(list)
        for model in models:
            alike[self._shape(model)].append(model)
        for members in alike.values():
            size = execution.at_once or self._choose(members[0], execution.device)
            for first in range(0, len(members), size):
                yield tuple(members[first : first + size])

    def _choose(self, model: ModelPlan, device: torch.device) -> int:
        manifest = self.manifest(model)
        shape = Shape(
            backbone=manifest.backbone,
            n_classes=len(manifest.class_names),
            channels=manifest.channels,
            image_size=manifest.image_size,
        )
        return choose_at_once(shape, self._config.training, device)

    def _shape(self, model: ModelPlan) -> tuple[object, ...]:
        """What models must share to be trained together."""
        n_train = 0
        if model.learnt is not None:
            source, share = self._sources[model.learnt.source], self._config.training.train_share
            rows, _ = split_rows(source, model.learnt.classes, train_share=share)
            n_train = sum(map(len, rows))
        channels = self._sources[model.advertised.source].channels
        return (model.backbone, len(model.advertised.classes), channels, n_train)

    def make(
        self, group: Sequence[ModelPlan], device: torch.device, progress: PoolProgress
    ) -> Iterator[tuple[ModelPlan, dict[str, Tensor]]]:
        """Train a group; its models with their weights."""
        first = self.manifest(group[0])
        if group[0].learnt is None:
            for model in group:
                yield model, self._untrained(model)
            return
        name = group[0].name if len(group) == 1 else f"{len(group)} models from {group[0].name}"
        trained = train_together(
            first.backbone,
            [self._training_set(model) for model in group],
            n_classes=len(first.class_names),
            config=self._config.training,
            device=device,
            report=lambda epoch, loss: progress.epoch_done(
                name, epoch, self._config.training.epochs, loss
            ),
        )
        yield from zip(group, trained, strict=True)

    def _untrained(self, model: ModelPlan) -> dict[str, Tensor]:
        manifest = self.manifest(model)
        module = fresh(
            model.backbone,
            n_classes=len(manifest.class_names),
            channels=manifest.channels,
            image_size=manifest.image_size,
            seed=model.seed,
        )
        return dict(module.state_dict())

    def _training_set(self, model: ModelPlan) -> TrainingSet:
        """The images that a model learns, in the form that its manifest names."""
        assert model.learnt is not None
        split, manifest = self._split(model.learnt), self.manifest(model)
        images = fit_images(
            split.train_images.float() / 255, size=manifest.image_size, channels=manifest.channels
        )
        return TrainingSet(
            images=normalize(images, manifest.mean, manifest.std),
            labels=split.train_labels,
            seed=model.seed,
        )

    def _split(self, task: TaskPlan) -> Split:
        share = self._config.training.train_share
        return split_task(self._sources[task.source], task.classes, train_share=share)

    def keep(
        self,
        pool: PoolDirectory,
        model: ModelPlan,
        tensors: Mapping[str, Tensor],
        device: torch.device,
    ) -> Result:
        """Write a model, test the file as the server would load it, and add it to the pool."""
        manifest = self.manifest(model)
        part = pool.write_part(model.name, tensors)
        teacher = load_teacher(part, manifest)
        check_teacher(teacher, rng=torch.Generator().manual_seed(PROBE_SEED))
        teacher.module.to(device)
        advertised = accuracy(teacher, self._split(model.advertised))
        own = None if model.learnt is None else accuracy(teacher, self._split(model.learnt))
        claimed = model.claimed_accuracy if own is None else own
        assert claimed is not None
        result = Result(
            sha256=sha256_of(part),
            test_accuracy=own,
            advertised_accuracy=advertised,
            claimed_accuracy=claimed,
        )
        pool.keep(model.name, part, upload_manifest(model, manifest, result), result)
        return result


@torch.no_grad()
def accuracy(teacher: Teacher, split: Split) -> float:
    """Share of right answers to the test images, 0 to 1."""
    answers = [
        teacher.logits(images.to(teacher.device).float() / 255).argmax(dim=1).cpu()
        for images in torch.split(split.test_images, CHUNK)
    ]
    return (torch.cat(answers) == split.test_labels).double().mean().item()
