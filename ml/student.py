"""The learner's network while it is trained, and what a build delivers of it.

Dims: B images, C channels, S side length, D features, H hidden units, P projected features.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ml.backbones import Backbone, build, initialize
from ml.canvas import Canvas
from ml.learner import SERVING, Adaptation, MetaLearner
from ml.projection import Projection


def new_network(backbone: str, n_way: int, canvas: Canvas, rng: torch.Generator) -> Backbone:
    """A network for the canvas with an n_way head, initialised from rng."""
    network = build(
        backbone, n_classes=n_way, channels=canvas.channels, image_size=canvas.image_size
    )
    initialize(network, rng)
    return network


def new_head(n_features: int, hidden: int, axes: int, rng: torch.Generator) -> nn.Sequential:
    """Features (B, D) to axes (B, P), initialised from rng; without hidden units a linear map."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if hidden:
        parts["hidden"] = nn.Linear(n_features, hidden, bias=False)
        parts["norm"] = nn.BatchNorm1d(hidden)
        parts["relu"] = nn.ReLU()
    parts["out"] = nn.Linear(hidden or n_features, axes)
    head = nn.Sequential(parts)
    initialize(head, rng)
    return head


@torch.no_grad()
def folded_head(weights: Mapping[str, Tensor], features: Iterable[Tensor]) -> Projection:
    """A head's weights with its BatchNorm folded into the layer before, on the CPU.

    Args:
        weights: of `new_head`, by name.
        features: (B, D) each, of all images that its BatchNorm averages over; not looked at where
            there is none.
    """
    w = {name: p.detach().cpu().double() for name, p in weights.items()}
    out = {"weight": w["out.weight"].float(), "offset": w["out.bias"].float()}
    if "hidden.weight" not in w:
        return Projection(**out)
    mean_D, covariance_DD = _moments(features)
    mean_H = w["hidden.weight"] @ mean_D
    variance_H = ((w["hidden.weight"] @ covariance_DD) * w["hidden.weight"]).sum(dim=1)
    scale_H = w["norm.weight"] / (variance_H + nn.BatchNorm1d(1).eps).sqrt()
    return Projection(
        **out,
        hidden=(scale_H.unsqueeze(1) * w["hidden.weight"]).float(),
        hidden_offset=(w["norm.bias"] - scale_H * mean_H).float(),
    )


def _moments(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) over rows that are never all at hand."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        rows = batch.detach().cpu().double()
        count, total, squares = count + len(rows), total + rows.sum(dim=0), squares + rows.T @ rows
    mean = total / count
    return mean, squares / count - torch.outer(mean, mean)


@torch.no_grad()
def deliver(
    weights: Mapping[str, Tensor],
    images: Iterable[Tensor],
    *,
    backbone: str,
    n_way: int,
    canvas: Canvas,
    device: torch.device,
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
    )
