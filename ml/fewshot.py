"""The server's one door: load a meta-learner, decode images, answer a few-shot request.

Nothing here keeps, writes or logs an image, a label or an answer.

Dims: S support images, Q query images, N ways, D features, C channels, H height, W width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ml.backbones import Backbone
from ml.canvas import Canvas
from ml.delivered import Delivered, load_delivered
from ml.ensemble import EnsembleLearner
from ml.errors import UnusableSupport
from ml.fewshot_ensemble import answer_together
from ml.functional import Params, adapt, apply, batch_normalised, inner_step, leaves
from ml.images import decode_image
from ml.learner import Adaptation, MetaLearner
from ml.prototypes import class_means, prototype_logits
from ml.shapes import Float, Int
from ml.types import fit_images

__all__ = [
    "Delivered",
    "EnsembleLearner",
    "MetaLearner",
    "UnusableSupport",
    "decode_image",
    "decoding_side",
    "load_delivered",
    "predict",
]

CHUNK = 256  # images per forward pass: bounds memory for 5000 support images
TUNING_BATCH = 128  # images per SGD step of a fine-tuned head
PRIOR_IMAGES = 32  # trained statistics weigh as much as so many support images when blended


def predict(
    meta_learner: Delivered,
    support_images: Float[Tensor, "s c h w"],
    support_labels: Int[Tensor, " labels"],
    query_images: Float[Tensor, "q c2 h2 w2"],
    *,
    n_way: int,
    teachers_asked: int | None = None,
) -> Float[Tensor, "q n"]:
    """Adapt to a support set and answer queries; deterministic, leaves the meta-learner as it is.

    Args:
        meta_learner: what a build delivered; computes where its tensors lie.
        support_images: in [0, 1], any size, 1 or 3 channels.
        support_labels: 0 to n_way - 1, each present; numbers of images may differ.
        query_images: like support_images.
        n_way: N, any number >= 2; at most the trained ways for adaptation "fine_tune".
        teachers_asked: of an ensemble, how many members answer the queries; 0 is all, None as many
            as the ensemble says. Any other meta-learner is one network and ignores it.

    Returns:
        Probability of each class for each query; rows sum to 1. With batch statistics
        "transductive" an answer depends on the other queries, else on the support set alone.

    Raises:
        UnusableSupport: if labels and images do not fit together, or the ways do not fit.
    """
    check_support(meta_learner, support_images, support_labels, n_way)
    if isinstance(meta_learner, EnsembleLearner):
        asked = meta_learner.teachers_asked if teachers_asked is None else teachers_asked
        device, labels = meta_learner.device, support_labels.to(meta_learner.device)
        support, queries = support_images.to(device), query_images.to(device)
        with torch.no_grad():
            together = answer_together(meta_learner, support, labels, queries, n_way, asked)
            return (together / meta_learner.temperature).softmax(dim=1)
    device = next(iter(meta_learner.tensors.values())).device
    support = to_canvas(meta_learner, support_images.to(device))
    queries = to_canvas(meta_learner, query_images.to(device))
    labels = support_labels.to(device)
    with torch.no_grad():
        logits = ADAPTATIONS[meta_learner.adaptation.kind](
            meta_learner, support, labels, queries, n_way
        )
        return (logits / meta_learner.adaptation.temperature).softmax(dim=1)


def check_support(meta_learner: Delivered, images: Tensor, labels: Tensor, n_way: int) -> None:
    """Refuse what cannot be adapted to."""
    if n_way < 2:
        raise UnusableSupport(f"a task needs at least 2 classes, got {n_way}")
    if len(images) != len(labels):
        raise UnusableSupport(f"{len(images)} support images came with {len(labels)} labels")
    if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= n_way:
        raise UnusableSupport(f"labels must be 0 to {n_way - 1}")
    if len(torch.unique(labels)) != n_way:
        raise UnusableSupport("each class needs at least one support image")
    if isinstance(meta_learner, EnsembleLearner):
        return  # has no head that could have too few outputs
    if meta_learner.adaptation.kind == "fine_tune" and n_way > meta_learner.n_way:
        raise UnusableSupport(
            f"this meta-learner's head has {meta_learner.n_way} outputs, the task {n_way} classes; "
            "use the adaptation centroid or prototype_fine_tune"
        )


def decoding_side(meta_learner: Delivered) -> int:
    """The side in pixels to decode a request's images at: the largest that is looked at."""
    if isinstance(meta_learner, EnsembleLearner):
        return meta_learner.largest_side
    return meta_learner.image_size


def to_canvas(meta_learner: MetaLearner, images: Tensor) -> Tensor:
    """Images as the meta-learner takes them: its size, channels and normalisation."""
    size, channels = meta_learner.image_size, meta_learner.channels
    canvas = Canvas(
        image_size=size, channels=channels, mean=meta_learner.mean, std=meta_learner.std
    )
    chunks = torch.split(images, CHUNK)
    fitted = [canvas.normalize(fit_images(c, size=size, channels=channels)) for c in chunks]
    return torch.cat(fitted).contiguous(memory_format=torch.channels_last)  # faster on a CPU


# Three ways to adapt; each returns logits (Q, N).


def nearest_centroid(
    meta_learner: MetaLearner, support: Tensor, labels_S: Tensor, queries: Tensor, n_way: int
) -> Tensor:
    """Minus half the squared distance between unit features and class means, over their spread.

    The spread is the mean squared length of the class means, 1 at one shot: means of more images
    are shorter, so distances to them differ less, and one temperature would be sure of too little.

    Features are centred on the support set's mean, if the adaptation asks for it, and scaled to
    unit length (Wang et al. 2019, SimpleShot, "CL2N"; there the centre is that of the base classes,
    which nobody here has). Few support images say where the middle is only badly: a projection
    that was trained on directions has it at zero already.
    """
    encoder = serving_module(meta_learner, support).encoder
    support_SD, query_QD = (
        projected(meta_learner, in_chunks(encoder, images)) for images in (support, queries)
    )
    if meta_learner.adaptation.centre == "support":
        centre_D = class_means(support_SD, labels_S, n_way).mean(dim=0)
        support_SD, query_QD = support_SD - centre_D, query_QD - centre_D
    support_SD, query_QD = F.normalize(support_SD, dim=1), F.normalize(query_QD, dim=1)
    spread = class_means(support_SD, labels_S, n_way).square().sum(dim=1).mean().clamp_min(1e-6)
    return prototype_logits(support_SD, labels_S, query_QD, n_way) / 2 / spread


def projected(meta_learner: MetaLearner, features: Tensor) -> Tensor:
    """Features in the space where the meta-learner compares them."""
    projection = meta_learner.projection
    return features if projection is None else features @ projection.T


def prototype_fine_tune(
    meta_learner: MetaLearner, support: Tensor, labels_S: Tensor, queries: Tensor, n_way: int
) -> Tensor:
    """A linear head made of prototypes, then fine-tuned with the encoder (Proto-MAML).

        w_n = 2 c_n,  b_n = -|c_n|^2

    Source: Triantafillou et al. 2020, section 3. Beyond TUNING_BATCH images each step takes the
    next ones in a fixed interleaved order, so that a large support set costs no more per step.
    """
    adaptation = meta_learner.adaptation
    module = serving_module(meta_learner, support)
    prototypes_ND = class_means(in_chunks(module.encoder, support), labels_S, n_way)
    module.classifier = nn.Linear(module.feature_dim, n_way, device=support.device)
    params: Params = dict(module.named_parameters())
    params["classifier.weight"] = 2 * prototypes_ND
    params["classifier.bias"] = -prototypes_ND.square().sum(dim=1)
    order = interleaved(len(support), max(len(support) // TUNING_BATCH, 1)).to(support.device)
    batches = torch.split(order, TUNING_BATCH)
    for step in range(adaptation.steps):
        rows = batches[step % len(batches)]
        params = tuned(module, params, support[rows], labels_S[rows], adaptation)
    return in_chunks(lambda images: apply(module, params, images), queries)


@torch.enable_grad()
def tuned(
    module: Backbone, params: Params, images: Tensor, labels: Tensor, adaptation: Adaptation
) -> Params:
    """One SGD step on cross-entropy."""
    fast = leaves(params)
    logits = apply(module, fast, images) / adaptation.temperature
    step = inner_step(fast, F.cross_entropy(logits, labels), lr=adaptation.lr, second_order=False)
    return {name: p.detach() for name, p in step.items()}


def fine_tune(
    meta_learner: MetaLearner, support: Tensor, labels_S: Tensor, queries: Tensor, n_way: int
) -> Tensor:
    """The published meta-test: SGD on the whole support set, BatchNorm over each batch as it comes.

    Queries are answered in one batch, since they share their BatchNorm statistics.
    """
    adaptation = meta_learner.adaptation
    module = batch_normalised(meta_learner.module())

    def loss_of(params: Params) -> Tensor:
        logits = apply(module, params, support)[:, :n_way]
        return F.cross_entropy(logits, labels_S)

    with torch.enable_grad():
        start = leaves(dict(module.named_parameters()))
        adapted = adapt(
            start, loss_of, steps=adaptation.steps, lr=adaptation.lr, second_order=False
        )
    return apply(module, adapted, queries)[:, :n_way]


ADAPTATIONS: dict[str, Callable[[MetaLearner, Tensor, Tensor, Tensor, int], Tensor]] = {
    "centroid": nearest_centroid,
    "prototype_fine_tune": prototype_fine_tune,
    "fine_tune": fine_tune,
}


# BatchNorm and batches.


def serving_module(meta_learner: MetaLearner, support: Tensor) -> Backbone:
    """A private module whose BatchNorm layers normalise as the adaptation asks.

    "support" measures their statistics on the support set, as a plain average over batches that
    each hold a fair share of every part of it; "blended" averages them with the trained ones,
    S : PRIOR_IMAGES, since few images say little. With neither do queries see each other.
    """
    module = meta_learner.module()
    kind = meta_learner.adaptation.batch_statistics
    if kind == "transductive":
        return batch_normalised(module)
    if kind == "running":
        return module
    n_chunks = -(-len(support) // CHUNK)
    order = interleaved(len(support), n_chunks).to(support.device)
    with measuring(module):
        for rows in order.tensor_split(n_chunks):
            module.encoder(support[rows])
    if kind == "blended":
        blend_statistics(module, meta_learner, len(support) / (len(support) + PRIOR_IMAGES))
    return module


def blend_statistics(module: nn.Module, trained: MetaLearner, share: float) -> None:
    """Move a private module's BatchNorm statistics towards the trained ones."""
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.lerp_(trained.tensors[name], 1.0 - share)


@contextmanager
def measuring(module: nn.Module) -> Iterator[None]:
    """While inside, BatchNorm layers forget what they knew and average what they see."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    yield
    for layer in layers:
        layer.eval()


def interleaved(n_rows: int, n_groups: int) -> Tensor:
    """Row numbers such that each of n_groups equal runs spans all rows: 0, g, 2g, ..., 1, g + 1."""
    return torch.cat([torch.arange(start, n_rows, n_groups) for start in range(n_groups)])


def in_chunks(answer: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Answers to many images with bounded memory."""
    return torch.cat([answer(chunk) for chunk in torch.split(images, CHUNK)])
