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
from ml.classifiers import (
    CHUNK,
    Answers,
    CentroidClassifier,
    Classifier,
    HeadClassifier,
    in_chunks,
)
from ml.delivered import Delivered, load_delivered
from ml.ensemble import EnsembleLearner
from ml.errors import UnusableSupport
from ml.fewshot_ensemble import classify_together
from ml.functional import Params, adapt, apply, batch_normalised, inner_step, leaves
from ml.images import decode_image
from ml.learner import Adaptation, MetaLearner
from ml.prototypes import class_means
from ml.shapes import Float, Int
from ml.types import fit_images, normalize

__all__ = [
    "Answers",
    "Classifier",
    "Delivered",
    "EnsembleLearner",
    "MetaLearner",
    "UnusableSupport",
    "classifier_for",
    "decode_image",
    "decoding_side",
    "load_delivered",
    "predict",
]

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
        teachers_asked: as in `classifier_for`.

    Returns:
        Probability of each class for each query; rows sum to 1. With batch statistics
        "transductive" an answer depends on the other queries, else on the support set alone.

    Raises:
        UnusableSupport: if labels and images do not fit together, or the ways do not fit.
    """
    classifier = classifier_for(
        meta_learner, support_images, support_labels, n_way=n_way, teachers_asked=teachers_asked
    )
    return classifier.answer(query_images).probabilities


@torch.no_grad()
def classifier_for(
    meta_learner: Delivered,
    support_images: Float[Tensor, "s c h w"],
    support_labels: Int[Tensor, " labels"],
    *,
    n_way: int,
    teachers_asked: int | None = None,
) -> Classifier:
    """Adapt to a support set; the classifier shares no tensor that anything writes to.

    Args:
        meta_learner: what a build delivered; computes where its tensors lie.
        support_images: in [0, 1], any size, 1 or 3 channels.
        support_labels: 0 to n_way - 1, each present; numbers of images may differ.
        n_way: N, any number >= 2; at most the trained ways for adaptation "fine_tune".
        teachers_asked: of an ensemble, how many members answer the queries; 0 is all, None as many
            as the ensemble says. Any other meta-learner is one network and ignores it.

    Raises:
        UnusableSupport: if labels and images do not fit together, or the ways do not fit.
    """
    check_support(meta_learner, support_images, support_labels, n_way)
    device = meta_learner.device
    support, labels = support_images.to(device), support_labels.to(device)
    if isinstance(meta_learner, EnsembleLearner):
        asked = meta_learner.teachers_asked if teachers_asked is None else teachers_asked
        return classify_together(meta_learner, support, labels, n_way, asked)
    adapt_to = ADAPTATIONS[meta_learner.adaptation.kind]
    return adapt_to(meta_learner, to_form(meta_learner, support), labels, n_way).eval()


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


def to_form(meta_learner: MetaLearner, images: Tensor) -> Tensor:
    """Images in [0, 1] in the meta-learner's size and channels."""
    size, channels = meta_learner.image_size, meta_learner.channels
    fitted = [fit_images(c, size=size, channels=channels) for c in torch.split(images, CHUNK)]
    return torch.cat(fitted).contiguous(memory_format=torch.channels_last)  # faster on a CPU


def normalised(meta_learner: MetaLearner, images: Tensor) -> Tensor:
    """Images in [0, 1] as the meta-learner's network takes them."""
    return normalize(images, meta_learner.mean, meta_learner.std)


# Three ways to adapt; support sets are in [0, 1], in the meta-learner's form.


def nearest_centroid(
    meta_learner: MetaLearner, support: Tensor, labels_S: Tensor, n_way: int
) -> Classifier:
    """Class means of unit features (ml.classifiers.CentroidClassifier)."""
    encoder = serving_module(meta_learner, normalised(meta_learner, support)).encoder
    return CentroidClassifier(meta_learner, encoder, support, labels_S, n_way)


def prototype_fine_tune(
    meta_learner: MetaLearner, support: Tensor, labels_S: Tensor, n_way: int
) -> Classifier:
    """A linear head made of prototypes, then fine-tuned with the encoder (Proto-MAML).

        w_n = 2 c_n,  b_n = -|c_n|^2

    Source: Triantafillou et al. 2020, section 3. Beyond TUNING_BATCH images each step takes the
    next ones in a fixed interleaved order, so that a large support set costs no more per step.
    """
    adaptation = meta_learner.adaptation
    support = normalised(meta_learner, support)
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
    alone = adaptation.batch_statistics != "transductive"
    return HeadClassifier(meta_learner, holding(module, params), n_way, alone=alone)


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
    meta_learner: MetaLearner, support: Tensor, labels_S: Tensor, n_way: int
) -> Classifier:
    """The published meta-test: SGD on the whole support set, BatchNorm over each batch as it comes.

    Queries are answered in one batch, since they share their BatchNorm statistics.
    """
    adaptation = meta_learner.adaptation
    support = normalised(meta_learner, support)
    module = batch_normalised(meta_learner.module())

    def loss_of(params: Params) -> Tensor:
        logits = apply(module, params, support)[:, :n_way]
        return F.cross_entropy(logits, labels_S)

    with torch.enable_grad():
        start = leaves(dict(module.named_parameters()))
        adapted = adapt(
            start, loss_of, steps=adaptation.steps, lr=adaptation.lr, second_order=False
        )
    return HeadClassifier(meta_learner, holding(module, adapted), n_way, alone=False)


def holding(module: Backbone, params: Params) -> Backbone:
    """A private module, with these parameters in place of its own."""
    tensors = {name: p.detach() for name, p in params.items()}
    module.load_state_dict(tensors, strict=False, assign=True)
    return module.requires_grad_(requires_grad=False)


ADAPTATIONS: dict[str, Callable[[MetaLearner, Tensor, Tensor, int], Classifier]] = {
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
