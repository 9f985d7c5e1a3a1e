"""Several classifiers of one shape trained in step, each exactly as it would be alone.

Nothing couples the models: the gradient of the sum of their losses is each one's own, the
optimisers work number by number, gradients are clipped model by model, and every model has its own
streams of randomness. So how many are trained at once changes rounding alone. Rounding is all
that drives some weights: a bias in front of BatchNorm has no gradient but rounding's, which Adam
scales up to full steps. Such biases differ between two ways to compute; BatchNorm takes them out.

Dims: N models, I images, B batch, C channels, S side length, K classes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.pools.config import OptimizerConfig, TrainingConfig
from benchmarks.pools.plan import stream
from benchmarks.pools.stacked import Stack, clip, stack
from ml.backbones import Backbone, build, initialize

Report = Callable[[int, float], None]
"""Called after each epoch with the number of epochs done and the mean loss in nats."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingSet:
    """What one model learns."""

    images: Tensor
    """(I, C, S, S), normalised."""
    labels: Tensor
    """(I,), 0 to K - 1."""
    seed: int

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.images.shape[1])


def fresh(backbone: str, *, n_classes: int, channels: int, image_size: int, seed: int) -> Backbone:
    """A model before its training; for a fake, all it will ever be."""
    module = build(backbone, n_classes=n_classes, channels=channels, image_size=image_size)
    initialize(module, stream(seed, "weights"))
    return module


def train_together(
    backbone: str,
    sets: Sequence[TrainingSet],
    *,
    n_classes: int,
    config: TrainingConfig,
    device: torch.device,
    report: Report = lambda _epoch, _loss: None,
) -> list[dict[str, Tensor]]:
    """Train a model on each set; all sets have equal numbers of images, of equal shape.

    Args:
        backbone: a key of ml.backbones.BACKBONES.
        sets: at least one, each with at least 2 images.
        n_classes: K of every model.
        config: epochs, batches, optimiser.
        device: where to compute; initial weights and batches are drawn on the CPU.
        report: told after each epoch.

    Returns:
        Each model's state dict after the last epoch, on the CPU.
    """
    models = stack([_fresh_for(each, backbone, n_classes) for each in sets], device)
    optimizer, schedule = make_optimizer(
        list(models.parameters.values()), config.optimizer_of(backbone)
    )
    all_images = torch.stack([each.images for each in sets]).to(device)
    all_labels = torch.stack([noisy_labels(each, n_classes, config) for each in sets]).to(device)
    rngs = [stream(each.seed, "batches") for each in sets]
    each_model = torch.arange(len(sets), device=device).unsqueeze(1)
    for epoch in range(config.epochs):
        losses = []
        for drawn in draw_batches(rngs, all_images.shape[1], config.batch_size):
            rows = drawn.to(device)
            images = all_images[each_model, rows]
            if config.flip:
                images = flip(images, rngs)
            losses.append(step(models, optimizer, images, all_labels[each_model, rows], config))
        schedule.step()
        report(epoch + 1, float(torch.stack(losses).mean()))
    return [models.state_dict(position) for position in range(len(sets))]


def _fresh_for(training_set: TrainingSet, backbone: str, n_classes: int) -> Backbone:
    return fresh(
        backbone,
        n_classes=n_classes,
        channels=training_set.channels,
        image_size=training_set.images.shape[-1],
        seed=training_set.seed,
    )


def step(
    models: Stack,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    config: TrainingConfig,
) -> Tensor:
    """One step of every model on its own batch.

    Args:
        models: N of them; their weights and statistics change in place.
        optimizer: of their parameters.
        images: (N, B, C, S, S), normalised.
        labels: (N, B).
        config: the longest gradient that is taken as it is.

    Returns:
        Each model's loss before the step (N,), in nats.
    """
    logits = models.logits(images)
    per_image = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    losses = per_image.view(labels.shape).mean(dim=1)
    parameters = list(models.parameters.values())
    gradients = torch.autograd.grad(losses.sum(), parameters)
    for parameter, gradient in zip(parameters, clip(gradients, config.max_grad_norm), strict=True):
        parameter.grad = gradient
    optimizer.step()
    return losses.detach()


def make_optimizer(
    parameters: Sequence[Tensor], config: OptimizerConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.MultiStepLR]:
    """The optimiser and its learning rate's schedule by epochs."""
    optimizer: torch.optim.Optimizer
    if config.kind == "adam":
        optimizer = torch.optim.Adam(parameters, lr=config.lr, weight_decay=config.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, milestones=list(config.milestones), gamma=config.gamma
    )
    return optimizer, schedule


def draw_batches(
    rngs: Sequence[torch.Generator], n_images: int, batch_size: int
) -> Iterator[Tensor]:
    """Row numbers (N, B) of one epoch, each model's shuffled by its own stream.

    A last batch of a single image is left out: BatchNorm may find no variance in it.
    """
    order = torch.stack([torch.randperm(n_images, generator=rng) for rng in rngs])
    for rows in torch.split(order, batch_size, dim=1):
        if rows.shape[1] > 1:
            yield rows


def flip(images: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
    """Mirror each image of (N, B, C, S, S) with probability 1/2, by its own model's stream."""
    drawn = torch.stack([torch.rand(images.shape[1], generator=rng) for rng in rngs])
    mirrored = (drawn < 0.5).to(images.device)[:, :, None, None, None]
    return torch.where(mirrored, images.flip(-1), images)


def noisy_labels(training_set: TrainingSet, n_classes: int, config: TrainingConfig) -> Tensor:
    """The labels, a share of them replaced by another class, each other one equally likely."""
    labels = training_set.labels.clone()
    rng = stream(training_set.seed, "labels")
    rows = torch.randperm(len(labels), generator=rng)[: round(config.label_noise * len(labels))]
    shift = torch.randint(1, n_classes, (len(rows),), generator=rng)
    labels[rows] = (labels[rows] + shift) % n_classes
    return labels
