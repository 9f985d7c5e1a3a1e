"""The learner's network while it is trained, and what a build delivers of it.

Dims: B images, C channels, S side length, D features, P projected features.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ml.backbones import Backbone, build, initialize
from ml.canvas import Canvas
from ml.learner import SERVING, Adaptation, MetaLearner


def new_network(backbone: str, n_way: int, canvas: Canvas, rng: torch.Generator) -> Backbone:
    """A network for the canvas with an n_way head, initialised from rng."""
    network = build(
        backbone, n_classes=n_way, channels=canvas.channels, image_size=canvas.image_size
    )
    initialize(network, rng)
    return network


@torch.no_grad()
def deliver(
    weights: Mapping[str, Tensor],
    images: Iterable[Tensor],
    *,
    backbone: str,
    n_way: int,
    canvas: Canvas,
    device: torch.device,
    projection: Tensor | None = None,
    adaptation: Adaptation = SERVING,
) -> MetaLearner:
    """A meta-learner with BatchNorm statistics that are a plain average over batches of images.

    Draws nothing from anyone's randomness, so that looking changes nothing.

    Args:
        weights: the network's, by name; what they leave out stays as new, equal for equal configs.
        images: batches in [0, 1].
        backbone: the network's architecture.
        n_way: outputs of its head.
        canvas: size, channels and normalisation.
        device: where to compute.
        projection: (P, D), the map behind the features; none where they are compared as they are.
        adaptation: how the learner becomes a classifier.
    """
    network = new_network(backbone, n_way, canvas, torch.Generator().manual_seed(0)).to(device)
    network.load_state_dict(weights, strict=False)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # a plain average over the batches
    network.train()
    for batch in images:
        network(canvas.normalize(batch.to(device)))
    return MetaLearner(
        backbone=backbone,
        n_way=n_way,
        image_size=canvas.image_size,
        channels=canvas.channels,
        mean=canvas.mean,
        std=canvas.std,
        tensors={name: t.detach().cpu().clone() for name, t in network.state_dict().items()},
        adaptation=adaptation,
        projection=None if projection is None else projection.detach().cpu().clone(),
    )
