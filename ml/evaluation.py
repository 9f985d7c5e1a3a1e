"""Meta-testing: mean accuracy over episodes with its 95 % interval, and what to compare it with.

Dims: I images, S support, Q queries, N ways, D values per image, C, H, W.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.backbones import build, initialize
from ml.delivered import Delivered
from ml.episodes import sample_episode
from ml.fewshot import predict
from ml.learner import PUBLISHED, MetaLearner
from ml.prototypes import prototype_logits
from ml.shapes import Float, Int
from ml.types import Episode, Teacher

Predictor = Callable[[Episode], Tensor]
"""An episode to scores (Q, N), the highest one being the answer; sees no query label."""

NORMAL_95 = 1.96  # two-sided 95 % quantile of the normal distribution, as every DFML paper uses


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Mean accuracy over episodes, as fractions."""

    mean: float
    half_width_95: float
    n: int

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} ± {100 * self.half_width_95:.2f} % (n = {self.n})"


def evaluate(
    subject: Delivered | Predictor,
    images: Float[Tensor, "i c h w"],
    labels: Int[Tensor, " i"],
    *,
    n_way: int,
    n_shot: int,
    n_query: int,
    episodes: int,
    rng: torch.Generator,
) -> Score:
    """Meta-test on episodes of labelled images; the same rng state gives the same episodes.

    Args:
        subject: a meta-learner of either kind (asked as the server asks it) or any predictor.
        images: in [0, 1].
        labels: any integers; their classes must be none that the subject was chosen on.
        n_way: ways per episode.
        n_shot: support images per class.
        n_query: queries per class.
        episodes: at least 2, for an interval.
        rng: the only source of randomness.

    Raises:
        TooFewImages: if the images do not suffice for an episode.
        ValueError: if episodes is below 2.
    """
    if episodes < 2:
        raise ValueError(f"an interval needs at least 2 episodes, got {episodes}")
    answer = serving(subject) if isinstance(subject, Delivered) else subject
    accuracies = []
    for _ in range(episodes):
        episode = sample_episode(
            images, labels, n_way=n_way, n_shot=n_shot, n_query=n_query, rng=rng
        )
        right = answer(episode).argmax(dim=1).cpu() == episode.query_labels.cpu()
        accuracies.append(right.double().mean())
    return score_of(torch.stack(accuracies))


def score_of(accuracies: Float[Tensor, " e"]) -> Score:
    """Mean and 1.96 * standard deviation / sqrt(n) of per-episode accuracies."""
    half_width = NORMAL_95 * float(accuracies.std()) / math.sqrt(len(accuracies))
    return Score(mean=float(accuracies.mean()), half_width_95=half_width, n=len(accuracies))


BINS = 15  # of confidence, of equal width, as Guo et al. 2017 take


def calibration_error(
    confidence: Float[Tensor, " a"], right: Float[Tensor, " a"], *, bins: int = BINS
) -> float:
    """Mean distance of confidence and accuracy, over bins of confidence (Guo et al. 2017, Eq. 3).

    Args:
        confidence: probability of the answer that was given, per answer.
        right: 1 where it was the right one.
        bins: how many, of equal width.
    """
    places = (confidence * bins).long().clamp_max(bins - 1)
    parts = [
        (places == place).float().mean()
        * (confidence[places == place].mean() - right[places == place].mean()).abs()
        for place in range(bins)
        if (places == place).any()
    ]
    return float(torch.stack(parts).sum())


# Who can be evaluated.


def serving(meta_learner: Delivered) -> Predictor:
    """A meta-learner asked as the server asks it."""

    def answer(episode: Episode) -> Tensor:
        return predict(
            meta_learner,
            episode.support_images,
            episode.support_labels,
            episode.query_images,
            n_way=episode.n_way,
        )

    return answer


def paper_protocol(meta_learner: MetaLearner) -> Predictor:
    """The papers' meta-test: 10 SGD steps at 0.01 on everything, BatchNorm over each batch."""
    return serving(replace(meta_learner, adaptation=PUBLISHED))


def random_initialisation(like: MetaLearner, rng: torch.Generator) -> MetaLearner:
    """The same backbone, untrained, adapting in the same way."""
    module = build(
        like.backbone, n_classes=like.n_way, channels=like.channels, image_size=like.image_size
    )
    initialize(module, rng)
    tensors = {name: tensor.to(like.device) for name, tensor in module.state_dict().items()}
    return replace(like, tensors=tensors, projection=None)


def teacher_centroid(teacher: Teacher) -> Predictor:
    """One pool model's features, as trained, and the nearest class mean of the unit features."""

    @torch.no_grad()
    def answer(episode: Episode) -> Tensor:
        features: list[Tensor] = []
        handle = teacher.module.get_submodule("encoder").register_forward_hook(
            lambda _module, _inputs, output: features.append(output)
        )
        try:
            teacher.logits(episode.support_images)
            teacher.logits(episode.query_images)
        finally:
            handle.remove()
        support_SD, query_QD = (F.normalize(f, dim=1) for f in features)
        return prototype_logits(support_SD, episode.support_labels, query_QD, episode.n_way)

    return answer


def pixel_centroid() -> Predictor:
    """No network: the nearest class mean of the pixels."""

    def answer(episode: Episode) -> Tensor:
        support_SD, query_QD = episode.support_images.flatten(1), episode.query_images.flatten(1)
        return prototype_logits(support_SD, episode.support_labels, query_QD, episode.n_way)

    return answer
