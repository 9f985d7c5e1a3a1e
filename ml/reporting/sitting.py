"""Everyone takes the exam: who is asked, what that costs, and what each gets.

Dims: T teachers, Q questions.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml.delivered import Delivered
from ml.ensemble import EnsembleLearner
from ml.episodes import draw_rows
from ml.evaluation import pixel_centroid
from ml.reporting.candidates import (
    ANSWER_TEMPERATURE,
    ANSWERS,
    BEST,
    FEATURES,
    LEARNER,
    PIXELS,
    RANDOM,
    SINGLE,
    Candidate,
    Note,
    as_served,
    beside_one_another,
    each_alone,
    ensemble_as_served,
    initialised,
    right,
    said_by,
    unnoted,
)
from ml.reporting.exams import Exam, Question
from ml.shapes import Float
from ml.types import Teacher

LEAST_TEACHERS = 8  # are asked, whatever they cost

ASK, ANSWER = "ask", "answer"  # kinds of steps
Tell = Callable[[str], object]
Results = Mapping[str, Mapping[int, Float[Tensor, " q"]]]
"""By candidate and number of shots, each question's accuracy; NaN where it was not asked."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Panel:
    """The teachers that are asked, by their place in the pool."""

    teachers: Mapping[int, Teacher]


def choose_panel(
    teachers: Sequence[Teacher], *, images: int, most_flops: float, rng: torch.Generator
) -> Panel:
    """As many teachers as can be asked about so many images, drawn; those of one class say nothing.

    Operations are counted, not timed, so that a seed gives the same report everywhere.
    """
    usable = [place for place, teacher in enumerate(teachers) if teacher.n_classes >= 2]
    order = [usable[row] for row in draw_rows(len(usable), len(usable), rng).tolist()]
    known: dict[tuple[str, int, int], int] = {}
    chosen: list[int] = []
    spent = 0.0
    for place in order:
        teacher = teachers[place]
        kind = (teacher.backbone, teacher.image_size, teacher.channels)
        if kind not in known:
            known[kind] = flops_of(teacher)
        spent += images * known[kind]
        if spent > most_flops and len(chosen) >= LEAST_TEACHERS:
            break
        chosen.append(place)
    return Panel(teachers={place: teachers[place] for place in sorted(chosen)})


@torch.no_grad()
def flops_of(teacher: Teacher) -> int:
    """Operations for one image, in convolutions and linear maps."""
    device = teacher.device
    image = torch.zeros(1, teacher.channels, teacher.image_size, teacher.image_size, device=device)
    spent = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal spent
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        spent += 2 * output.numel() * layer.weight[0].numel()

    with ExitStack() as stack:
        for layer in teacher.module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                stack.callback(layer.register_forward_hook(count).remove)
        teacher.logits(image)
    return spent


def sit(
    exam: Exam,
    learner: Delivered,
    teachers: Sequence[Teacher],
    panel: Panel,
    *,
    rng: torch.Generator,
    tell: Tell,
    note: Note = unnoted,
) -> Results:
    """The learner and all baselines answer all questions.

    Args:
        exam: the questions.
        learner: what was built; of an ensemble those members are asked that are on the panel.
        teachers: the pool.
        panel: who of them is asked.
        rng: of random initialisations.
        tell: called with the kind of step that is done, as often as `count_steps` says.
        note: takes the learner's probabilities.
    """
    temperature = ANSWER_TEMPERATURE
    if isinstance(learner, EnsembleLearner):
        temperature = learner.answer_temperature
    features, answers = {}, {}
    for place, teacher in panel.teachers.items():
        said = said_by(teacher, exam.images, temperature=temperature)
        features[place], answers[place] = said.features, said.answers
        tell(ASK)
    if isinstance(learner, EnsembleLearner):
        ours = sit_ensemble(exam, learner, panel, answers, tell, note)
    else:
        ours = as_served(exam, learner, note)
    results = in_all_questions(
        exam,
        {
            LEARNER: ours,
            RANDOM: initialised(exam, learner, teachers, rng),
            FEATURES: beside_one_another(features),
            ANSWERS: beside_one_another(answers),
            PIXELS: pixels(exam),
        },
        tell,
    )
    return results | alone(exam, features)


def count_steps(learner: Delivered, panel: Panel, questions: int) -> dict[str, int]:
    """How many steps of each kind `sit` takes; an ensemble's members see mirror images, too."""
    twice = 2 if isinstance(learner, EnsembleLearner) else 1
    return {ASK: twice * len(panel.teachers), ANSWER: questions}


def sit_ensemble(
    exam: Exam,
    learner: EnsembleLearner,
    panel: Panel,
    answers: Mapping[int, Tensor],
    tell: Tell,
    note: Note,
) -> Candidate:
    """The ensemble, of whose members those on the panel are there."""
    kept = {id(member.module) for member in learner.members}
    upright = {p: a for p, a in answers.items() if id(panel.teachers[p].module) in kept}
    turned_images = exam.images.flip(-1)
    mirrored = {}
    for place, teacher in panel.teachers.items():
        if place in upright:
            said = said_by(teacher, turned_images, temperature=learner.answer_temperature)
            mirrored[place] = said.answers
        tell(ASK)
    return ensemble_as_served(learner, upright, mirrored, note)


def pixels(exam: Exam) -> Candidate:
    """The nearest class mean of the pixels."""
    answer = pixel_centroid()

    def accuracy(question: Question, n_shot: int) -> float:
        episode = exam.episode(question, n_shot)
        return right(answer(episode), episode)

    return accuracy


def in_all_questions(
    exam: Exam, candidates: Mapping[str, Candidate], tell: Tell
) -> dict[str, dict[int, Tensor]]:
    """Each candidate's accuracy in each question."""
    results: dict[str, dict[int, Tensor]] = {name: {} for name in candidates}
    for n_shot, questions in exam.questions.items():
        rows: list[list[float]] = []
        for question in questions:
            rows.append([candidate(question, n_shot) for candidate in candidates.values()])
            tell(ANSWER)
        for name, accuracies in zip(candidates, torch.tensor(rows).T, strict=True):
            results[name][n_shot] = accuracies
    return results


def alone(exam: Exam, features: Mapping[int, Tensor]) -> dict[str, dict[int, Tensor]]:
    """A single teacher on average, and the one that does best at that number of shots."""
    results: dict[str, dict[int, Tensor]] = {SINGLE: {}, BEST: {}}
    for n_shot, questions in exam.questions.items():
        accuracies_TQ = each_alone(features, [(question, n_shot) for question in questions])
        means = accuracies_TQ.nanmean(dim=1).nan_to_num(-1.0)
        results[SINGLE][n_shot] = accuracies_TQ.nanmean(dim=0)
        results[BEST][n_shot] = accuracies_TQ[int(means.argmax())]
    return results
