"""A few-shot request to an ensemble: which members to ask, and what their answers say together.

Nothing here keeps, writes or logs an image, a label or an answer.

Dims: S support images, Q query images, N ways, M members, A answers of one member or of several.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.answers import answers_of
from ml.classifiers import PrototypeClassifier, places_in_class
from ml.ensemble import EnsembleLearner
from ml.prototypes import class_means
from ml.shapes import Float, Int
from ml.types import Teacher, fit_images

RANKING_SHOTS = 5  # images of a class that all members look at: 100 members times 5000 take minutes
RANKING_TEMPERATURE = 0.1  # of the leave-one-out likelihood; 0.03 and 0.25 choose a little worse


class EnsembleClassifier(PrototypeClassifier):
    """The nearest class mean of several members' answers, side by side."""

    def __init__(
        self,
        learner: EnsembleLearner,
        members: tuple[Teacher, ...],
        support: Float[Tensor, "s c h w"],
        labels_S: Int[Tensor, " s"],
        n_way: int,
    ) -> None:
        """Place the classes.

        Args:
            learner: whose temperatures count.
            members: those of it that answer.
            support: in [0, 1], any size, 1 or 3 channels.
            labels_S: 0 to n_way - 1, each present.
            n_way: N.
        """
        super().__init__(
            n_way=n_way,
            temperature=learner.temperature,
            image_size=learner.largest_side,
            channels=learner.channels,
        )
        self._learner, self._members = learner, members
        self.place(answers_beside(learner, members, support), labels_S, centred=True)

    def look(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """The members' answers."""
        return answers_beside(self._learner, self._members, images)

    def fitted(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Images as they are: each member fits them its own way."""
        return images.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the members lie."""
        return self._learner.device

    @property
    def memory_bytes(self) -> int:
        """What its tensors and those of its members take, which it may share with others."""
        members = (member.module for member in self._members)
        tensors = (t for module in members for t in (*module.parameters(), *module.buffers()))
        return sum(t.nbytes for t in (*self.buffers(), *tensors))


def classify_together(
    learner: EnsembleLearner,
    support: Float[Tensor, "s c h w"],
    labels_S: Int[Tensor, " s"],
    n_way: int,
    asked: int,
) -> EnsembleClassifier:
    """A classifier of the members that suit the support set best.

    Args:
        learner: the members.
        support: in [0, 1], any size, 1 or 3 channels.
        labels_S: 0 to n_way - 1, each present.
        n_way: N.
        asked: how many members answer the queries; all where there are fewer, or for 0.
    """
    members = learner.members
    if 0 < asked < len(members):
        members = best_members(learner, support, labels_S, n_way, asked)
    return EnsembleClassifier(learner, members, support, labels_S, n_way)


# Who is asked.


def best_members(
    learner: EnsembleLearner, support: Tensor, labels_S: Tensor, n_way: int, asked: int
) -> tuple[Teacher, ...]:
    """The members that tell this request's classes apart best, in the order of the ensemble."""
    rows, mirrored = ranking_rows(labels_S, n_way)
    looked_at, labels_S = support[rows], labels_S[rows]
    if mirrored:
        looked_at, labels_S = torch.cat([looked_at, looked_at.flip(-1)]), labels_S.repeat(2)
    fitted = Fitted(looked_at)
    answers = [answers_to(learner, member, fitted) for member in learner.members]
    places = best_places(answers, labels_S, n_way, asked)
    return tuple(learner.members[place] for place in places)


def ranking_rows(labels_S: Int[Tensor, " s"], n_way: int) -> tuple[Tensor, bool]:
    """What all members look at: the first RANKING_SHOTS images of each class, in order.

    Returns:
        Row numbers, and whether the images' mirror images are looked at, too: where a class has a
        single image, one is needed beside it to see whether a member stays with what it says.
    """
    mirrored = int(torch.bincount(labels_S, minlength=n_way).min()) < 2
    first = places_in_class(labels_S, n_way) < RANKING_SHOTS
    return first.nonzero().flatten(), mirrored


def best_places(
    answers: Sequence[Tensor], labels_S: Int[Tensor, " s"], n_way: int, asked: int
) -> list[int]:
    """Which of the members' answers (S, A) tell the classes apart best, in ascending order."""
    scores = torch.stack([leave_one_out(each, labels_S, n_way) for each in answers])
    best = scores.argsort(descending=True, stable=True)[:asked]
    return sorted(best.tolist())


def leave_one_out(
    answers_SA: Float[Tensor, "s a"], labels_S: Int[Tensor, " s"], n_way: int
) -> Float[Tensor, ""]:
    """Mean log-likelihood of each image's class under the class means of all other images, nats.

        mean_i log softmax_n( -|a_i - m_n|^2 / (2 T) )[label_i],  m_n without image i

    It asks for members that say the same of a class's images and something else of the others'.
    How far apart the classes are does as well in a pool whose members all see, but prefers those
    that are sure of anything to those that see. Every class needs two images.
    """
    means_NA = class_means(answers_SA, labels_S, n_way)
    shots_S1 = torch.bincount(labels_S, minlength=n_way)[labels_S].unsqueeze(1)
    own_SA = (means_NA[labels_S] * shots_S1 - answers_SA) / (shots_S1 - 1)
    squares_SN = (answers_SA.unsqueeze(1) - means_NA).square().sum(dim=2)
    own_S1 = (answers_SA - own_SA).square().sum(dim=1, keepdim=True)
    squares_SN = squares_SN.scatter(1, labels_S.unsqueeze(1), own_S1)
    return -F.cross_entropy(-squares_SN / (2 * RANKING_TEMPERATURE), labels_S)


# What they say.


class Fitted:
    """Images in each size and depth that members want, made once and forgotten with the request."""

    def __init__(self, images: Tensor) -> None:
        self._images = images.contiguous(memory_format=torch.channels_last)  # faster on a CPU
        self._fitted: dict[tuple[int, int], Tensor] = {}

    def to(self, member: Teacher) -> Tensor:
        """The images as a member takes them, but for its normalisation."""
        wanted = (member.image_size, member.channels)
        if wanted not in self._fitted:
            size, channels = wanted
            self._fitted[wanted] = fit_images(self._images, size=size, channels=channels)
        return self._fitted[wanted]


def answers_beside(
    learner: EnsembleLearner, members: tuple[Teacher, ...], images: Tensor
) -> Float[Tensor, "b a"]:
    """The members' answers to each image, as one vector."""
    fitted = Fitted(images)
    return torch.cat([answers_to(learner, member, fitted) for member in members], dim=1)


def answers_to(learner: EnsembleLearner, member: Teacher, fitted: Fitted) -> Tensor:
    """One member's Hellinger vectors; zeros where its logits overflow, so that it says nothing."""
    answers = answers_of(
        member,
        fitted.to(member),
        temperature=learner.answer_temperature,
        precision="float32",
    )
    return answers.nan_to_num(0.0)
