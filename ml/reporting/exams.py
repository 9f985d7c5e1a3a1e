"""The episodes that a report asks of everyone: images, rows of them, and who must not be asked.

Dims: I images, N ways, K images of a class in an episode, C, S.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ml.episodes import draw_rows, episode_of
from ml.shapes import Float, Int
from ml.types import Episode

SHOTS = (1, 5)
MAX_WAY = 5
MAX_QUERIES = 10  # per class


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Question:
    """One episode, as rows of the exam's images."""

    rows: Int[Tensor, "n k"]
    """Of each class: support images first."""
    labeller: int | None = None
    """Place of the teacher whose answers are the labels; it must not be asked. None where the
    labels are not a teacher's."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Exam:
    """The same questions for everyone, so that differences are paired."""

    kind: str
    """Where the labels are from: "recovered" or "validation"."""
    images: Float[Tensor, "i c s s"]
    """In [0, 1]."""
    n_way: int
    questions: Mapping[int, Sequence[Question]]
    """By number of shots."""

    def episode(self, question: Question, n_shot: int) -> Episode:
        """The question with its images."""
        return episode_of(self.images, question.rows, n_shot=n_shot)


def validation_exam(
    images: Float[Tensor, "i c s s"],
    labels: Int[Tensor, " i"],
    *,
    episodes: int,
    rng: torch.Generator,
) -> Exam:
    """Questions from somebody's labelled images, with as many ways and queries as there are.

    Numbers of shots that leave no query in the smallest class are left out.

    Args:
        images: in [0, 1].
        labels: any integers, at least two different ones, each at least twice.
        episodes: per number of shots.
        rng: the only source of randomness.
    """
    own = [torch.nonzero(labels == each).flatten() for each in torch.unique(labels)]
    smallest = min(map(len, own))
    n_way = min(MAX_WAY, len(own))
    questions = {
        n_shot: [
            Question(
                rows=torch.stack(
                    [
                        own[place][draw_rows(len(own[place]), n_shot + n_query, rng)]
                        for place in draw_rows(len(own), n_way, rng).tolist()
                    ]
                )
            )
            for _ in range(episodes)
        ]
        for n_shot in SHOTS
        if (n_query := min(MAX_QUERIES, smallest - n_shot)) >= 1
    }
    return Exam(kind="validation", images=images, n_way=n_way, questions=questions)
