"""Losses of one episode as functions of the meta-parameters: what replay descends.

Dims: E episodes, S support images, Q query images, N ways, D features.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml.backbones import Backbone
from ml.functional import Params, adapt, apply
from ml.prototypes import prototype_logits
from ml.shapes import Float
from ml.types import Episode

Normalize = Callable[[Tensor], Tensor]


def encode(student: Backbone, params: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Features (B, D) of normalised images under the encoder's part of params."""
    encoder: nn.Module = student.encoder
    own = {n.removeprefix("encoder."): p for n, p in params.items() if n.startswith("encoder.")}
    return apply(encoder, own, images)


def maml_adapted(
    student: Backbone,
    params: Params,
    episode: Episode,
    normalize: Normalize,
    *,
    steps: int,
    lr: float,
    second_order: bool,
) -> Params:
    """The parameters after a few inner steps on the support set (Finn et al. 2017, Eq. 1).

    Args:
        student: says what is computed; BatchNorm uses each batch, so queries see each other.
        params: the meta-parameters; gradients flow back to them.
        episode: its ways must not exceed the head's outputs; it uses the first of them.
        normalize: images in [0, 1] to the student's input.
        steps: inner steps.
        lr: inner learning rate.
        second_order: whether the inner path is differentiated.
    """
    loss_of = partial(
        support_loss,
        student=student,
        support=normalize(episode.support_images),
        labels=episode.support_labels,
        n_way=episode.n_way,
    )
    return adapt(params, loss_of, steps=steps, lr=lr, second_order=second_order)


def support_loss(
    params: Params, *, student: Backbone, support: Tensor, labels: Tensor, n_way: int
) -> Tensor:
    """Cross-entropy of normalised support images, in nats."""
    return F.cross_entropy(apply(student, params, support)[:, :n_way], labels)


def maml_query_logits(
    student: Backbone, adapted: Params, episode: Episode, normalize: Normalize
) -> Float[Tensor, "q n"]:
    """Query logits under adapted parameters."""
    return apply(student, adapted, normalize(episode.query_images))[:, : episode.n_way]


def prototypical_query_logits(
    student: Backbone, params: Params, episode: Episode, normalize: Normalize
) -> Float[Tensor, "q n"]:
    """Query logits by distance to class means in feature space (Snell et al. 2017, Eq. 2).

    BatchNorm sees the support set for the support features and the queries for theirs.
    """
    support_SD = encode(student, params, normalize(episode.support_images))
    query_QD = encode(student, params, normalize(episode.query_images))
    return prototype_logits(support_SD, episode.support_labels, query_QD, episode.n_way)


def maml_query_logits_at_once(
    student: Backbone,
    params: Params,
    episodes: Sequence[Episode],
    normalize: Normalize,
    *,
    steps: int,
    lr: float,
    second_order: bool,
) -> Float[Tensor, "e q n"]:
    """maml_adapted and maml_query_logits for many episodes of one shape in one computation.

    The same numbers up to rounding. Worth it where one episode does not fill the device: on a GPU;
    on a CPU convolutions with weights of their own per episode are slower than a loop. The
    student's BatchNorms must be composed (ml.functional.norms_composed).
    """
    n_way = episodes[0].n_way

    def answer(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        loss_of = partial(
            support_loss, student=student, support=support, labels=labels, n_way=n_way
        )
        adapted = params
        for _ in range(steps):
            slopes = torch.func.grad(loss_of)(adapted)
            if not second_order:
                slopes = {name: slope.detach() for name, slope in slopes.items()}
            adapted = {name: p - lr * slopes[name] for name, p in adapted.items()}
        return apply(student, adapted, queries)[:, :n_way]

    logits: Tensor = torch.func.vmap(answer)(
        torch.stack([normalize(each.support_images) for each in episodes]),
        torch.stack([each.support_labels for each in episodes]),
        torch.stack([normalize(each.query_images) for each in episodes]),
    )
    return logits
