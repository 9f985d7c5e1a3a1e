"""An exam that needs nobody's data: pictures drawn by chance, labelled by teachers' answers.

Pictures are drawn and refined as a build draws its own, but from another seed, so no learner was
trained on them. Each teacher labels only pictures that were not refined towards it, and what is
asked about its labels is asked without it (Question.labeller): else everyone who holds it would
only have to repeat what it says. The teachers themselves are the ones that the learner learnt from.

Dims: I pictures, K classes of a teacher, N ways, C, S.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor
from torch.nn import functional as F

from ml.answers import logits_of
from ml.canvas import Canvas
from ml.drawing import draw_images
from ml.episodes import draw_rows
from ml.errors import UnusablePool
from ml.inversion.refine import RefineConfig, refine
from ml.reporting.exams import MAX_QUERIES, MAX_WAY, SHOTS, Exam, Question
from ml.shapes import Float, Int
from ml.types import Teacher

BATCH = 100  # pictures refined together
LOOKERS = 2  # teachers that a batch is refined towards
LABELLERS = 20  # teachers that label, at most
MOST_CONFIDENT = 25  # pictures of each class that are asked about
MOST_BYTES = 256 << 20  # of pictures
REFINEMENT = RefineConfig(
    steps=5, lr=0.02, class_weight=1.0, bn_weight=1.0, flip=False, precision="auto"
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pictures:
    """Pictures, and towards whom they were refined."""

    images: Float[Tensor, "i c s s"]
    seen_by: tuple[frozenset[int], ...]
    """Per picture: places of the teachers that it was refined towards."""


def draw_pictures(
    teachers: Sequence[Teacher],
    canvas: Canvas,
    *,
    count: int,
    rng: torch.Generator,
    tell: Callable[[], object],
) -> Pictures:
    """So many pictures, fewer where they are large, refined a little towards some teachers."""
    device = teachers[0].device
    count = min(count, MOST_BYTES // (4 * canvas.channels * canvas.image_size**2))
    order = draw_rows(len(teachers), len(teachers), rng).tolist()
    turns = cycle(order)  # one after the other, so that everyone has pictures left to label
    batches: list[Tensor] = []
    seen_by: list[frozenset[int]] = []
    for part in torch.arange(count).tensor_split(batch_count(count)):
        size = len(part)
        drawn = draw_images(size, image_size=canvas.image_size, channels=canvas.channels, rng=rng)
        places = list(islice(turns, min(LOOKERS, len(teachers) // 2)))
        lookers = [teachers[place] for place in places]
        batches.append(refine(drawn.to(device), lookers, REFINEMENT, rng=rng).images.cpu())
        seen_by += [frozenset(places)] * size
        tell()
    return Pictures(images=torch.cat(batches), seen_by=tuple(seen_by))


def recovered_exam(
    teachers: Sequence[Teacher],
    canvas: Canvas,
    *,
    pictures: int,
    episodes: int,
    rng: torch.Generator,
    tell: Callable[[], object] = int,
) -> Exam:
    """Questions whose classes are what single teachers see in pictures.

    Args:
        teachers: the pool; at least two of two classes or more, the others are never asked here.
        canvas: of the pictures.
        pictures: how many to draw.
        episodes: per number of shots.
        rng: the only source of randomness; its seed must be none that the build used.
        tell: called after each step of the work, as often as `draw_steps` says or less.

    Raises:
        UnusablePool: if there are too few teachers, or they see too few classes in the pictures.
    """
    usable = [place for place, teacher in enumerate(teachers) if teacher.n_classes >= 2]
    if len(usable) < 2:
        raise UnusablePool("an estimate without data needs two models of two classes or more")
    counts = sorted(teachers[place].n_classes for place in usable)
    n_way = min(MAX_WAY, counts[(len(counts) - 1) // 2])
    able = [place for place in usable if teachers[place].n_classes >= n_way]
    drawn = draw_pictures(teachers, canvas, count=pictures, rng=rng, tell=tell)
    labelled = {}
    for place in (able[row] for row in draw_rows(len(able), LABELLERS, rng).tolist()):
        rows = label(teachers[place], place, drawn, n_way=n_way, rng=rng)
        if len(rows):
            labelled[place] = rows
        tell()
    if not labelled:
        raise UnusablePool("no model tells enough of its classes apart in pictures drawn by chance")
    return Exam(
        kind="recovered",
        images=drawn.images,
        n_way=n_way,
        questions={n_shot: ask(labelled, n_shot, episodes=episodes, rng=rng) for n_shot in SHOTS},
    )


def batch_count(pictures: int) -> int:
    """How many batches pictures are refined in."""
    return max(pictures // BATCH, 1)


def draw_steps(teachers: Sequence[Teacher], pictures: int) -> int:
    """Steps of recovered_exam at most."""
    return batch_count(pictures) + min(LABELLERS, len(teachers))


def label(
    teacher: Teacher, place: int, drawn: Pictures, *, n_way: int, rng: torch.Generator
) -> Int[Tensor, "n k"]:
    """Rows of the pictures that a teacher is surest of, the same number for each of n_way classes.

    Of its classes n_way are drawn. What a teacher says of drawn pictures is lopsided: some classes
    it sees everywhere. So a class is as sure as it is compared with what it is on average.

    Returns:
        Empty where a class has too few pictures.
    """
    fresh = torch.tensor(
        [row for row, who in enumerate(drawn.seen_by) if place not in who], dtype=torch.int64
    )
    classes = draw_rows(teacher.n_classes, n_way, rng)
    said = logits_of(teacher, drawn.images[fresh])[:, classes].cpu().log_softmax(dim=1)
    surprise = said - said.mean(dim=0)
    best = surprise.topk(2, dim=1)
    margin, seen = best.values[:, 0] - best.values[:, 1], best.indices[:, 0]
    fewest = int(torch.bincount(seen, minlength=n_way).min())
    if fewest < max(SHOTS) + MAX_QUERIES:
        return torch.empty(0, 0, dtype=torch.int64)
    kept = min(fewest, MOST_CONFIDENT)
    alone = F.one_hot(seen, n_way).bool().T
    ranked = torch.where(alone, margin, torch.tensor(-torch.inf)).topk(kept, dim=1)
    return fresh[ranked.indices]


def ask(
    labelled: dict[int, Tensor], n_shot: int, *, episodes: int, rng: torch.Generator
) -> list[Question]:
    """Episodes about one teacher's classes after the other's."""
    places = list(labelled)
    questions = []
    for turn in range(episodes):
        place = places[turn % len(places)]
        own = labelled[place]
        rows = [each[draw_rows(len(each), n_shot + MAX_QUERIES, rng)] for each in own]
        questions.append(Question(rows=torch.stack(rows), labeller=place))
    return questions
