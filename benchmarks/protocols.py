"""How a subject is asked: the episodes, the ways of answering them, and the accuracy reached.

Dims: E episodes, N ways, P images of a class in an episode (support, then queries), I images,
S support images, Q query images, D features.
"""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.recipe import Recipe
from benchmarks.results import Accuracy
from benchmarks.stock import Split
from ml.episodes import episode_of, sample_episode
from ml.evaluation import Predictor, paper_protocol, score_of, serving
from ml.learner import MetaLearner
from ml.prototypes import prototype_logits

Answer = Callable[[Tensor, int], Tensor]
"""Rows (N, P) of a split's images and the number of shots, to scores (Q, N)."""

Contestant = Callable[[Split], Answer]
"""Gets ready for the images of a split, once; then answers its episodes."""

FeaturesOf = Callable[[Split], Tensor]
"""A split's images to their features, (I, D)."""

RIDGE = 0.3
"""Weight of the squared weights of the ridge head; features have length 1. Chosen on CIFAR-FS
validation classes among 0.03, 0.1, 0.3, 1 and 3: best mean over 1, 10 and 40 teachers, 5-shot."""


def draw_episodes(
    recipe: Recipe, split: Split, n_shot: int, *, episodes: int | None = None, purpose: str = ""
) -> Tensor:
    """Rows of the images of each episode; the same for every subject.

    What is drawn depends on the split's name, the number of shots and the purpose alone, and the
    first episodes are the same however many there are. They are those that
    ml.evaluation.evaluate draws from the same rng.

    Args:
        recipe: says ways, queries and, unless given, the number of episodes.
        split: the images to draw from.
        n_shot: support images per class.
        episodes: how many, instead of the recipe's.
        purpose: a word for further, independent episodes.

    Returns:
        int64, (E, N, P).

    Raises:
        TooFewImages: if the images do not suffice for an episode.
    """
    rng = torch.Generator().manual_seed(episode_seed(split.name, n_shot, purpose))
    # An image of one pixel that says its own row number: so the library's sampler draws rows.
    numbers = torch.arange(len(split.labels), dtype=torch.float64).view(-1, 1, 1, 1)
    drawn = []
    for _ in range(episodes or recipe.episodes):
        episode = sample_episode(
            numbers,
            split.labels,
            n_way=recipe.ways,
            n_shot=n_shot,
            n_query=recipe.queries,
            rng=rng,
        )
        support, queries = episode.support_images.flatten(), episode.query_images.flatten()
        drawn.append(torch.cat([support.view(recipe.ways, -1), queries.view(recipe.ways, -1)], 1))
    return torch.stack(drawn).long()


def episode_seed(split: str, n_shot: int, purpose: str = "") -> int:
    """A seed that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{split}/{n_shot}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def measure(answer: Answer, rows: Tensor, n_shot: int) -> Accuracy:
    """Mean accuracy over episodes (E, N, P) with its 95 % interval."""
    _, n_way, per_class = rows.shape
    truth = torch.arange(n_way).repeat_interleave(per_class - n_shot)
    right = [answer(each, n_shot).argmax(dim=1).cpu() == truth for each in rows]
    accuracies = torch.stack(right).double().mean(dim=1)
    score = score_of(accuracies)
    return Accuracy(
        mean=score.mean,
        std=float(accuracies.std()),
        half_width_95=score.half_width_95,
        n=score.n,
    )


# Contestants that see images.


def seeing(predictor: Predictor) -> Contestant:
    """A predictor of ml.evaluation, which gets each episode's images."""

    def prepare(split: Split) -> Answer:
        return lambda rows, n_shot: predictor(episode_of(split.images, rows, n_shot=n_shot))

    return prepare


def by_protocol(learner: MetaLearner) -> dict[str, Contestant]:
    """A meta-learner under the two protocols that adapt it."""
    return {"serving": seeing(serving(learner)), "paper": seeing(paper_protocol(learner))}


# Contestants that see features, computed once for all episodes.


def by_features(features_of: FeaturesOf) -> dict[str, Contestant]:
    """Fixed features under the two protocols that adapt nothing."""
    return {
        "centroid": _on_features(features_of, centroid_scores),
        "ridge": _on_features(features_of, ridge_scores),
    }


def _on_features(
    features_of: FeaturesOf, head: Callable[[Tensor, Tensor, int], Tensor]
) -> Contestant:
    def prepare(split: Split) -> Answer:
        features = features_of(split)

        def answer(rows: Tensor, n_shot: int) -> Tensor:
            support, queries = rows[:, :n_shot].flatten(), rows[:, n_shot:].flatten()
            return head(features[support], features[queries], len(rows))

        return answer

    return prepare


def labels_of(support: Tensor, n_way: int) -> Tensor:
    """Labels of a support set (S, D) that lists class after class, equally many each."""
    return torch.arange(n_way).repeat_interleave(len(support) // n_way)


def centroid_scores(support: Tensor, queries: Tensor, n_way: int) -> Tensor:
    """Minus the squared distance to each class mean, (Q, N)."""
    return prototype_logits(support, labels_of(support, n_way), queries, n_way)


def ridge_scores(support: Tensor, queries: Tensor, n_way: int) -> Tensor:
    """Ridge regression from features onto one-hot labels, in its dual form, (Q, N).

        scores = K_QS (K_SS + RIDGE I)^-1 Y,  K the inner products of features

    Source: Bertinetto et al. 2019, "Meta-learning with differentiable closed-form solvers", Eq. 3;
    there the ridge is learnt, here it is fixed.
    """
    targets = F.one_hot(labels_of(support, n_way), n_way).to(support.dtype)
    inner = support @ support.T
    ridged = inner + RIDGE * torch.eye(len(support), dtype=support.dtype)
    weights: Tensor = torch.linalg.solve(ridged, targets)
    return queries @ support.T @ weights


# Contestants that differ from episode to episode.


def drawn_per_episode(contestants: Sequence[Contestant], seed: int) -> Contestant:
    """Another of several contestants in each episode, uniformly at random."""

    def prepare(split: Split) -> Answer:
        rng = torch.Generator().manual_seed(seed)
        ready: dict[int, Answer] = {}

        def answer(rows: Tensor, n_shot: int) -> Tensor:
            pick = int(torch.randint(len(contestants), (), generator=rng))
            if pick not in ready:
                ready[pick] = contestants[pick](split)
            return ready[pick](rows, n_shot)

        return answer

    return prepare


def made_per_episode(make: Callable[[torch.Generator], Contestant], seed: int) -> Contestant:
    """A new contestant in each episode, made from randomness."""

    def prepare(split: Split) -> Answer:
        rng = torch.Generator().manual_seed(seed)
        return lambda rows, n_shot: make(rng)(split)(rows, n_shot)

    return prepare
