"""A build's report: the estimate, the baselines beside it, and warnings where they are not beaten.

Without data the estimate is made on pictures that nobody took and that teachers label. It ranks
learners and baselines much as the truth does; its level is not to be trusted (docs/algorithms/
report.md has both in numbers). With a labelled validation set it is made on that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ml.canvas import choose_canvas
from ml.delivered import Delivered
from ml.ensemble import EnsembleLearner
from ml.evaluation import Score, calibration_error, score_of
from ml.progress import WorkMeter
from ml.reporting.candidates import BASELINES, LEARNER
from ml.reporting.exams import SHOTS, Exam, validation_exam
from ml.reporting.packing import Validation
from ml.reporting.pictures import draw_steps, recovered_exam
from ml.reporting.sitting import ANSWER, ASK, Results, choose_panel, count_steps, sit
from ml.reporting.size import FULL, ReportSize
from ml.types import Progress, Report, Teacher, silent

STAGE = "report"
DRAW = "draw"
PRIORS = {DRAW: 5.0, ASK: 0.3, ANSWER: 0.06}  # seconds a step, until it has been seen

LEVEL = (
    "Estimated without data, on drawn pictures that the pool's models label: a hint at how this "
    "meta-learner ranks among the baselines. It favours networks that learnt from such pictures, "
    "by several points where that was measured, and its level says little about accuracy on real "
    "classes. Order the build with a labelled validation set to know that."
)


def make_report(
    learner: Delivered,
    teachers: Sequence[Teacher],
    *,
    rng: torch.Generator,
    size: ReportSize = FULL,
    validation: Validation | None = None,
    domains: Sequence[str | None] = (),
    report: Report = silent,
) -> dict[str, Any]:
    """Examine a meta-learner and the baselines of its pool.

    Args:
        learner: what was built.
        teachers: the pool.
        rng: a CPU generator; without data, of a seed that the build did not use.
        size: what may be spent.
        validation: labelled images; None estimates on pictures.
        domains: of the teachers, in their order; where there are several, accuracy is also told
            for each, over the questions that its teachers label.
        report: called with the stage `report`, and how much of it is done; may raise to cancel.

    Returns:
        JSON: `estimate`, `baselines`, `warnings`, as docs/algorithms/report.md describes them.

    Raises:
        UnusablePool: if the pool's models cannot be asked, or without data cannot label pictures.
    """
    images = size.pictures if validation is None else len(validation.images)
    panel = choose_panel(teachers, images=images, most_flops=size.teacher_flops, rng=rng)
    drawing = draw_steps(teachers, size.pictures) if validation is None else 0
    planned = {DRAW: drawing, **count_steps(learner, panel, len(SHOTS) * size.episodes)}
    laps = _Laps(report, planned, teachers[0].device)
    if validation is None:
        exam = recovered_exam(
            teachers,
            choose_canvas(teachers, image_size=None, channels=None),
            pictures=size.pictures,
            episodes=size.episodes,
            rng=rng,
            tell=lambda: laps(DRAW),
        )
    else:
        exam = validation_exam(
            validation.images, validation.labels, episodes=size.episodes, rng=rng
        )
    device = teachers[0].device
    ours = learner if isinstance(learner, EnsembleLearner) else learner.to(device)
    confidences = Confidences()
    results = sit(exam, ours, teachers, panel, rng=rng, tell=laps, note=confidences)
    laps.end()
    made = written(exam, results, n_asked=len(panel.teachers), n_teachers=len(teachers))
    made["estimate"]["calibration_error"] = confidences.errors()
    made["estimate"]["domains"] = by_domain(exam, results, domains)
    return made


class Confidences:
    """How sure the learner was of its answers, and how many were right."""

    def __init__(self) -> None:
        self._seen: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def __call__(self, n_shot: int, probabilities: Tensor, wanted: Tensor) -> None:
        """Note an episode's answers."""
        confidence, answers = probabilities.max(dim=1)
        right = (answers.cpu() == wanted.cpu()).float()
        self._seen.setdefault(n_shot, []).append((confidence.cpu(), right))

    def errors(self) -> dict[str, float]:
        """The calibration error by number of shots."""
        return {
            str(n_shot): round(
                calibration_error(torch.cat([c for c, _ in seen]), torch.cat([r for _, r in seen])),
                4,
            )
            for n_shot, seen in self._seen.items()
        }


def by_domain(
    exam: Exam, results: Results, domains: Sequence[str | None]
) -> dict[str, dict[str, Any]]:
    """The learner's accuracy in the questions of each domain's teachers, where there are several.

    Empty where all teachers are of one domain, or nobody's teacher labels the questions. Domains of
    fewer than two questions of a number of shots are left out there.
    """
    named = {domain for domain in domains if domain is not None}
    if len(named) < 2:
        return {}
    found: dict[str, dict[int, Tensor]] = {}
    for n_shot, questions in exam.questions.items():
        labellers = [None if q.labeller is None else domains[q.labeller] for q in questions]
        for domain in sorted(named):
            rows = torch.tensor([each == domain for each in labellers])
            if int(rows.sum()) >= 2:
                found.setdefault(domain, {})[n_shot] = results[LEARNER][n_shot][rows]
    return {domain: by_shots(accuracies) for domain, accuracies in found.items()}


class _Laps:
    """Tells how much of the report is done."""

    def __init__(self, report: Report, planned: Mapping[str, int], device: torch.device) -> None:
        self._report, self._total, self._done = report, sum(planned.values()), 0
        self._meter = WorkMeter(planned, PRIORS, device)

    def __call__(self, kind: str) -> None:
        """A step of a kind is done."""
        self._done = min(self._done + 1, self._total)
        self._tell(self._meter.lap(kind))

    def end(self) -> None:
        """All is done, also where fewer steps were needed than planned."""
        self._done = self._total
        self._tell(1.0)

    def _tell(self, fraction: float) -> None:
        step = Progress(
            stage=STAGE, step=self._done, total_steps=self._total, fraction=fraction, metrics={}
        )
        self._report(step)


# In words and numbers.


def written(exam: Exam, results: Results, *, n_asked: int, n_teachers: int) -> dict[str, Any]:
    """The report as JSON."""
    estimate = {
        "kind": exam.kind,
        "n_episodes": len(next(iter(exam.questions.values()))),
        "way": exam.n_way,
        "n_images": len(exam.images),
        "n_teachers_asked": n_asked,
        "n_teachers": n_teachers,
        "shots": by_shots(results[LEARNER]),
    }
    baselines = [
        {"name": name, "what": what, "shots": by_shots(results[name])}
        for name, what in BASELINES.items()
    ]
    warnings = [warning for name in BASELINES if (warning := unbeaten(name, results)) is not None]
    if exam.kind == "recovered":
        warnings.insert(0, {"code": "level-not-trustworthy", "message": LEVEL})
    return {"estimate": estimate, "baselines": baselines, "warnings": warnings}


def not_estimated(why: str) -> dict[str, Any]:
    """The report where there is nothing to estimate on, or the estimate broke down."""
    message = f"Accuracy was not estimated: {why}"
    return {
        "estimate": None,
        "baselines": [],
        "warnings": [{"code": "not-estimated", "message": message}],
    }


def by_shots(accuracies: Mapping[int, Tensor]) -> dict[str, Any]:
    """Mean accuracy with its 95 % interval, by number of shots."""
    shots = {}
    for n_shot, each in accuracies.items():
        score = score_over(each)
        low, high = score.mean - score.half_width_95, score.mean + score.half_width_95
        interval = [round(max(low, 0.0), 4), round(min(high, 1.0), 4)]
        shots[str(n_shot)] = {"accuracy": round(score.mean, 4), "interval": interval}
    return shots


def unbeaten(name: str, results: Results) -> dict[str, str] | None:
    """A warning where the meta-learner is not shown to beat a baseline, paired over episodes."""
    told = []
    for n_shot, ours in results[LEARNER].items():
        difference = score_over(ours - results[name][n_shot])
        if difference.mean - difference.half_width_95 > 0:
            continue
        points, width = 100 * difference.mean, 100 * difference.half_width_95
        told.append(f"{points:+.1f} ± {width:.1f} points at {n_shot}-shot")
    if not told:
        return None
    message = (
        f"The meta-learner is not shown to beat {name} ({BASELINES[name]}): {'; '.join(told)}."
    )
    return {"code": "baseline-not-beaten", "baseline": name, "message": message}


def score_over(accuracies: Tensor) -> Score:
    """Of the episodes in which the candidate was asked."""
    return score_of(accuracies[~accuracies.isnan()].double())
