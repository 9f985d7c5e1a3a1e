"""An ensemble asked as the server asks it, with each member's answers computed once for a split.

The server lets every member look at every request's support set; over 600 episodes that would be
the same answers to the same images again and again.

Dims: N ways, P images of a class in an episode, I images, A answers of one member or of several.
"""

import torch
from torch import Tensor

from benchmarks.protocols import Answer, Contestant, labels_of
from benchmarks.stock import Split
from ml.answers import answers_of
from ml.classifiers import centroid_probabilities
from ml.ensemble import EnsembleLearner
from ml.fewshot_ensemble import best_places, ranking_rows


class SplitAnswers:
    """What each member says of a split's images, and of their mirror images where that is asked."""

    def __init__(self, learner: EnsembleLearner, images: Tensor) -> None:
        self._learner, self._images = learner, images
        self._known: dict[bool, list[Tensor]] = {}

    def of(self, *, mirrored: bool) -> list[Tensor]:
        """One (I, A) per member, on the CPU."""
        if mirrored not in self._known:
            images = self._images.flip(-1) if mirrored else self._images
            temperature = self._learner.answer_temperature
            self._known[mirrored] = [
                answers_of(member, images, temperature=temperature, precision="float32").cpu()
                for member in self._learner.members
            ]
        return self._known[mirrored]


def served(learner: EnsembleLearner) -> Contestant:
    """The ensemble under the protocol "serving": the logits behind ml.fewshot.predict."""

    def prepare(split: Split) -> Answer:
        said = SplitAnswers(learner, split.images)

        def answer(rows: Tensor, n_shot: int) -> Tensor:
            support, queries = rows[:, :n_shot].flatten(), rows[:, n_shot:].flatten()
            labels = labels_of(support, len(rows))
            answers = said.of(mirrored=False)
            if 0 < learner.teachers_asked < len(answers):
                places = chosen(said, support, labels, learner.teachers_asked)
                answers = [answers[place] for place in places]
            shown, asked_about = (
                torch.cat([each[images] for each in answers], dim=1)
                for images in (support, queries)
            )
            at_one = centroid_probabilities(shown, labels, asked_about, len(rows), temperature=1.0)
            return at_one.log()  # the logits, but for a number that all classes share

        return answer

    return prepare


def chosen(said: SplitAnswers, support: Tensor, labels: Tensor, asked: int) -> list[int]:
    """The members that an episode's support set, given as rows of the split, calls for."""
    n_way = int(labels.max()) + 1
    rows, mirrored = ranking_rows(labels, n_way)
    looked_at, labels = support[rows], labels[rows]
    shown = [answers[looked_at] for answers in said.of(mirrored=False)]
    if mirrored:
        others = [answers[looked_at] for answers in said.of(mirrored=True)]
        shown = [torch.cat(pair) for pair in zip(shown, others, strict=True)]
        labels = labels.repeat(2)
    return best_places(shown, labels, n_way, asked)
