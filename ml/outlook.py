"""What a support set lets expect before any query is asked: accuracy, likely mix-ups, strangeness.

Nothing here keeps, writes or logs an image, a label or an answer.

Dims: S support images, L of them left out one at a time, N ways.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from ml.classifiers import Classifier, PrototypeClassifier
from ml.delivered import Delivered
from ml.ensemble import EnsembleLearner
from ml.evaluation import NORMAL_95
from ml.fewshot import normalised, to_form
from ml.shapes import Float
from ml.types import fit_images, normalize

LOOKED_AT = 200  # support images that strangeness is judged by: more say no more
MEMBERS_ASKED = 10  # of an ensemble, likewise
STRANGE_FROM = 0.45
"""Strangeness from which a support set is unlike what the pool knows: sets of five photographs
reach 0.42 (95 %), garments on white begin at 0.56, written characters at 1.1 (docs/EXPERIMENTS.md,
2026-11-21)."""
USUAL_PAIR, USUAL_WEIGHT = 0.83, 15
"""How well two classes are told apart when nothing is known of them, and how many images that
knowledge is worth: few left-out images say little (docs/EXPERIMENTS.md, 2026-11-21)."""
ALIKE_BELOW = 0.65
"""Two classes told apart less often than this are alike; a coin tells half apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two classes, and how well they are told apart."""

    first: int
    second: int
    told_apart: float
    """Estimated share of their images that are nearer to their own class."""
    images: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outlook:
    """How the support images themselves would be answered, each left out in turn.

    A class then has one image fewer than it will have for queries, so that accuracy is on the
    careful side. Empty where no class has two images, or where images are not compared.
    """

    confidence: Float[Tensor, " l"]
    """Of the most likely class, ascending."""
    right: Float[Tensor, " l"]
    """1 where that class is the image's own, in the same order."""
    alike: tuple[Pair, ...]
    """Classes that cannot be told apart."""
    strangeness: float | None
    """How far the support set lies from what the network was trained on; see `strangeness_of`."""

    @property
    def images(self) -> int:
        """L."""
        return len(self.right)

    @property
    def accuracy(self) -> float | None:
        """Share that is right; None of no images."""
        return float(self.right.mean()) if self.images else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy, over images (Wilson 1927)."""
        return wilson(int(self.right.sum()), self.images) if self.images else None

    @property
    def is_strange(self) -> bool:
        """Whether the support set is unlike anything that the network knows."""
        return self.strangeness is not None and self.strangeness >= STRANGE_FROM

    def threshold(self, coverage: float) -> float:
        """The confidence that a share `coverage` of the left-out images reaches.

        Raises:
            ValueError: if there are none.
        """
        if not self.images:
            raise ValueError("no image was left out")
        unanswered = math.floor((1 - coverage) * self.images + 1e-9)
        return float(self.confidence[unanswered]) if unanswered < self.images else math.inf

    def accuracy_above(self, threshold: float) -> float | None:
        """Share that is right of the left-out images that reach a confidence; None of none."""
        answered = self.right[self.confidence >= threshold]
        return float(answered.mean()) if len(answered) else None


def outlook(
    learner: Delivered, classifier: Classifier, support: Float[Tensor, "s c h w"]
) -> Outlook:
    """Look at a support set in [0, 1] through the classifier that was made of it."""
    strangeness = strangeness_of(learner, support)
    if not isinstance(classifier, PrototypeClassifier):
        nothing = torch.zeros(0)
        return Outlook(confidence=nothing, right=nothing, alike=(), strangeness=strangeness)
    logits_SN = classifier.left_out()
    rows = ~logits_SN.isnan().any(dim=1)
    logits_LN, labels_L = logits_SN[rows], classifier.labels[rows]
    confidence, answers = classifier.probabilities(logits_LN).max(dim=1)
    order = confidence.argsort(stable=True)
    return Outlook(
        confidence=confidence[order].cpu(),
        right=(answers == labels_L)[order].float().cpu(),
        alike=tuple(
            pair for pair in pairs(logits_LN.cpu(), labels_L.cpu()) if pair.told_apart < ALIKE_BELOW
        ),
        strangeness=strangeness,
    )


def pairs(logits_LN: Tensor, labels_L: Tensor) -> Sequence[Pair]:
    """How well each two classes are told apart; worst first.

    (left-out images nearer to their own class + USUAL_PAIR USUAL_WEIGHT)
        / (left-out images + USUAL_WEIGHT)
    """
    found = []
    for first, second in combinations(range(logits_LN.shape[1]), 2):
        ours, theirs = labels_L == first, labels_L == second
        nearer = logits_LN[:, first] - logits_LN[:, second]
        told = int((nearer[ours] > 0).sum() + (nearer[theirs] < 0).sum())
        images = int(ours.sum() + theirs.sum())
        share = (told + USUAL_PAIR * USUAL_WEIGHT) / (images + USUAL_WEIGHT)
        found.append(Pair(first=first, second=second, told_apart=share, images=images))
    return sorted(found, key=lambda pair: pair.told_apart)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): sane for few images and for shares of 0 and 1."""
    z2 = NORMAL_95**2
    middle = (successes + z2 / 2) / (n + z2)
    variance = successes * (n - successes) / n + z2 / 4
    half_width = NORMAL_95 / (n + z2) * math.sqrt(variance)
    return max(middle - half_width, 0.0), min(middle + half_width, 1.0)


# Strangeness.


@torch.no_grad()
def strangeness_of(learner: Delivered, support: Float[Tensor, "s c h w"]) -> float | None:
    """How far a support set's BatchNorm statistics lie from those of a network's training.

        mean over layers and channels of (m - m')^2 / v' + ln(v / v')^2

    with m, v of the support set and m', v' remembered: the terms that inversion pulls pictures
    towards a teacher's data by (Yin et al. 2020, DeepInversion), here as a measure. Of an ensemble,
    that of the member to whom the set is least strange. Dimensionless; about 0.1 for like images.

    Returns:
        None for networks that remember no statistics.
    """
    rows = torch.linspace(0, len(support) - 1, min(len(support), LOOKED_AT)).round().long()
    looked_at = support[rows]
    if isinstance(learner, EnsembleLearner):
        looked_at = looked_at.to(learner.device)
        said = [
            gap(
                member.module,
                normalize(
                    fit_images(looked_at, size=member.image_size, channels=member.channels),
                    member.mean,
                    member.std,
                ),
            )
            for member in learner.members[:MEMBERS_ASKED]
        ]
    else:
        images = normalised(learner, to_form(learner, looked_at.to(learner.device)))
        said = [gap(learner.module(), images)]
    known = [each for each in said if each is not None]
    return min(known) if known else None


def gap(network: nn.Module, images: Float[Tensor, "b c h w"]) -> float | None:
    """Distance of normalised images' statistics from a network's, over its BatchNorm layers."""
    found: list[Tensor] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        if layer.running_mean is None or layer.running_var is None:
            return
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        known = layer.running_var + layer.eps
        shift = (mean - layer.running_mean).square() / known
        found.append((shift + ((variance + layer.eps) / known).log().square()).mean())

    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return float(torch.stack(found).mean()) if found else None
