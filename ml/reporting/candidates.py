"""Who takes an exam: the meta-learner, and the trivial baselines of its own pool.

What frozen networks say of the exam's images is computed once, not once a question.

Dims: I images, D features of a teacher, A answers of a teacher, N ways, K images of a class.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.answers import answers_from, features_of
from ml.backbones import build, initialize
from ml.canvas import choose_canvas
from ml.classifiers import centroid_probabilities
from ml.delivered import Delivered
from ml.ensemble import EnsembleLearner
from ml.evaluation import serving
from ml.fewshot_ensemble import best_places, ranking_rows
from ml.learner import MetaLearner
from ml.prototypes import prototype_logits
from ml.reporting.exams import Exam, Question
from ml.shapes import Float
from ml.types import Episode, Teacher

ANSWER_TEMPERATURE = (
    2.0  # of the baseline's softmax, as benchmarks and the recipe `ensemble` have it
)
RANDOM_ASKED_IN = 2  # every other episode: it takes as long as the learner, and is far behind
LEARNER = "meta_learner"
RANDOM, SINGLE, BEST = "random_initialisation", "single_teacher", "best_teacher"
FEATURES, ANSWERS, PIXELS = "pool_features", "pool_answers", "pixels"
BASELINES: Mapping[str, str] = {
    RANDOM: "the learner's network as it begins, new in each episode that it is asked",
    SINGLE: "one model's features, on average over the models",
    BEST: "the model that does best in these very episodes, which flatters it",
    FEATURES: "all models' features side by side",
    ANSWERS: "all models' answers side by side",
    PIXELS: "no network: the pixels themselves",
}
"""Names and what they are."""

Candidate = Callable[[Question, int], float]
"""(question, shots) -> accuracy."""
Note = Callable[[int, Tensor, Tensor], None]
"""Takes shots, an episode's probabilities (Q, N), and the queries' classes (Q,)."""


def unnoted(_shots: int, _probabilities: Tensor, _wanted: Tensor) -> None:
    """Note nothing."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Said:
    """What one teacher says of all images of an exam, on the CPU; zeros where it overflows."""

    features: Float[Tensor, "i d"]
    """Of length 1."""
    answers: Float[Tensor, "i a"]
    """Hellinger vectors."""


def said_by(
    teacher: Teacher, images: Float[Tensor, "i c s s"], *, temperature: float = ANSWER_TEMPERATURE
) -> Said:
    """A teacher's features and answers."""
    images = images.contiguous(memory_format=torch.channels_last)  # faster on a CPU
    features = features_of(teacher, images, precision="float32")
    answers = answers_from(teacher, features, temperature=temperature)
    return Said(
        features=F.normalize(features.nan_to_num(0.0, 0.0, 0.0), dim=1).cpu(),
        answers=answers.nan_to_num(0.0).cpu(),
    )


# The meta-learner.


def as_served(exam: Exam, learner: MetaLearner, note: Note = unnoted) -> Candidate:
    """One network, asked as the server asks it; its probabilities are noted."""
    answer = serving(learner)

    def accuracy(question: Question, n_shot: int) -> float:
        episode = exam.episode(question, n_shot)
        probabilities = answer(episode)
        note(n_shot, probabilities, episode.query_labels)
        return right(probabilities, episode)

    return accuracy


def ensemble_as_served(
    learner: EnsembleLearner,
    upright: Mapping[int, Tensor],
    mirrored: Mapping[int, Tensor],
    note: Note = unnoted,
) -> Candidate:
    """An ensemble asked as the server asks it, but for the member whose answers are the labels.

    Args:
        learner: how many members to ask.
        upright: by place of the member among the pool's teachers, its answers to all images.
        mirrored: likewise, its answers to their mirror images.
        note: takes its probabilities.
    """

    def accuracy(question: Question, n_shot: int) -> float:
        asked = [place for place in upright if place != question.labeller]
        support, labels, queries, wanted = halves(question, n_shot)
        n_way = len(question.rows)
        if 0 < learner.teachers_asked < len(asked):
            rows, turned = ranking_rows(labels, n_way)
            looked_at, names = support[rows], labels[rows]
            ranked = [upright[place][looked_at] for place in asked]
            if turned:
                more = [mirrored[place][looked_at] for place in asked]
                ranked = [torch.cat(both) for both in zip(ranked, more, strict=True)]
                names = names.repeat(2)
            best = best_places(ranked, names, n_way, learner.teachers_asked)
            asked = [asked[place] for place in best]
        beside = torch.cat([upright[place] for place in asked], dim=1)
        probabilities = centroid_probabilities(
            beside[support], labels, beside[queries], n_way, temperature=learner.temperature
        )
        note(n_shot, probabilities, wanted)
        return share(probabilities, wanted)

    return accuracy


# The baselines.


def initialised(
    exam: Exam, learner: Delivered, teachers: Sequence[Teacher], rng: torch.Generator
) -> Candidate:
    """The learner's network (an ensemble's most common one) with new random weights each time."""
    if isinstance(learner, MetaLearner):
        backbone = learner.backbone
    else:
        kinds = [teacher.backbone for teacher in teachers]
        backbone = max(sorted(set(kinds)), key=kinds.count)
    canvas = choose_canvas(teachers, image_size=exam.images.shape[-1], channels=None)
    turn = count()

    def accuracy(question: Question, n_shot: int) -> float:
        if next(turn) % RANDOM_ASKED_IN:
            return math.nan
        module = build(
            backbone, n_classes=2, channels=canvas.channels, image_size=canvas.image_size
        )
        initialize(module, rng)
        made = MetaLearner(
            backbone=backbone,
            n_way=2,
            image_size=canvas.image_size,
            channels=canvas.channels,
            mean=canvas.mean,
            std=canvas.std,
            tensors={name: t.to(learner.device) for name, t in module.state_dict().items()},
        )
        return as_served(exam, made)(question, n_shot)

    return accuracy


def beside_one_another(parts: Mapping[int, Tensor]) -> Candidate:
    """Several teachers' vectors as one, without those of the teacher whose answers are the labels.

    Args:
        parts: by place of the teacher, (I, numbers of that teacher).
    """

    def accuracy(question: Question, n_shot: int) -> float:
        asked = [part for place, part in parts.items() if place != question.labeller]
        return nearest(torch.cat([part[question.rows] for part in asked], dim=2), n_shot)

    return accuracy


def nearest(of_classes: Float[Tensor, "n k d"], n_shot: int) -> float:
    """Accuracy of the nearest class mean where vectors are the features."""
    n_way, per_class, _ = of_classes.shape
    names = torch.arange(n_way)
    logits = prototype_logits(
        of_classes[:, :n_shot].flatten(0, 1),
        names.repeat_interleave(n_shot),
        of_classes[:, n_shot:].flatten(0, 1),
        n_way,
    )
    return share(logits, names.repeat_interleave(per_class - n_shot))


def each_alone(
    parts: Mapping[int, Tensor], questions: Iterable[tuple[Question, int]]
) -> Float[Tensor, "t q"]:
    """Every teacher's accuracy in every episode; NaN where its answers are the labels."""
    asked = list(questions)
    return torch.tensor(
        [
            [
                torch.nan if question.labeller == place else nearest(part[question.rows], n_shot)
                for question, n_shot in asked
            ]
            for place, part in parts.items()
        ]
    )


def halves(question: Question, n_shot: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows and labels of the support images, then of the queries."""
    n_way, per_class = question.rows.shape
    names = torch.arange(n_way)
    return (
        question.rows[:, :n_shot].flatten(),
        names.repeat_interleave(n_shot),
        question.rows[:, n_shot:].flatten(),
        names.repeat_interleave(per_class - n_shot),
    )


def right(scores: Tensor, episode: Episode) -> float:
    """The share of an episode's queries that were answered rightly."""
    return share(scores.cpu(), episode.query_labels.cpu())


def share(scores: Tensor, labels: Tensor) -> float:
    """How often the highest score is the label's."""
    return float((scores.argmax(dim=1) == labels).double().mean())
