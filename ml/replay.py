"""Losses of one episode as functions of the meta-parameters: what replay descends.

Dims: S support images, Q query images, N ways, D features.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ml.backbones import Backbone
from ml.functional import Params, adapt, apply
from ml.prototypes import prototype_logits
from ml.types import Episode

Normalize = Callable[[Tensor], Tensor]


def encode(student: Backbone, params: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Features (B, D) of normalised images under the encoder's part of params."""
    encoder: nn.Module = student.encoder
    own = {n.removeprefix("encoder."): p for n, p in params.items() if n.startswith("encoder.")}
    return apply(encoder, own, images)


def maml_query_logits(
    student: Backbone,
    params: Params,
    episode: Episode,
    normalize: Normalize,
    *,
    steps: int,
    lr: float,
    second_order: bool,
) -> Tensor:
    """Query logits (Q, N) after a few inner steps on the support set (Finn et al. 2017, Eq. 1).

    Args:
        student: says what is computed; BatchNorm uses each batch, so queries see each other.
        params: the meta-parameters; gradients flow back to them.
        episode: its ways must not exceed the head's outputs; it uses the first of them.
        normalize: images in [0, 1] to the student's input.
        steps: inner steps.
        lr: inner learning rate.
        second_order: whether the inner path is differentiated.
    """
    support = normalize(episode.support_images)

    def support_loss(adapted: Params) -> Tensor:
        logits = apply(student, adapted, support)[:, : episode.n_way]
        return F.cross_entropy(logits, episode.support_labels)

    adapted = adapt(params, support_loss, steps=steps, lr=lr, second_order=second_order)
    return apply(student, adapted, normalize(episode.query_images))[:, : episode.n_way]


def prototypical_query_logits(
    student: Backbone, params: Params, episode: Episode, normalize: Normalize
) -> Tensor:
    """Query logits (Q, N) by distance to class means in feature space (Snell et al. 2017, Eq. 2).

    BatchNorm sees the support set for the support features and the queries for theirs.
    """
    support_SD = encode(student, params, normalize(episode.support_images))
    query_QD = encode(student, params, normalize(episode.query_images))
    return prototype_logits(support_SD, episode.support_labels, query_QD, episode.n_way)
