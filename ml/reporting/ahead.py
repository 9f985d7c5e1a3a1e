"""How long a report will take, so that a build's progress and ETA count it from the beginning.

Dims: C channels, S side length.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ml.answers import features_of
from ml.progress import fastest
from ml.reporting.exams import MAX_QUERIES, MAX_WAY, SHOTS
from ml.reporting.pictures import LABELLERS, LOOKERS, REFINEMENT
from ml.reporting.report import STAGE
from ml.reporting.sitting import choose_panel
from ml.reporting.size import ReportSize
from ml.types import Progress, Report, Teacher

TRIED = 16  # images
GUESS = 0.9  # share of a build that resumes, until its speed is known
BACKWARDS = 4  # a step in the pixels, in passes through a teacher


def rehearse(teachers: Sequence[Teacher], size: ReportSize, *, images: int | None) -> float:
    """Seconds that a report will take, from what the teachers take for a little noise.

    Args:
        teachers: the pool.
        size: of the report.
        images: of a validation set; None where pictures are drawn instead.
    """
    asked = choose_panel(
        teachers,
        images=images or size.pictures,
        most_flops=size.teacher_flops,
        rng=torch.Generator().manual_seed(0),
    ).teachers
    if not asked:
        return 0.0
    noise = torch.rand(TRIED, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one_of_each = {teacher.backbone: teacher for teacher in asked.values()}
    seconds = {
        name: fastest(partial(_answered, each, noise), each.device)
        for name, each in one_of_each.items()
    }
    pass_s = sum(seconds[each.backbone] for each in asked.values()) / len(asked) / TRIED
    drawn = size.pictures * (BACKWARDS * LOOKERS * REFINEMENT.steps + min(LABELLERS, len(asked)))
    served = 2 * size.episodes * MAX_WAY * (MAX_QUERIES * len(SHOTS) + sum(SHOTS))
    told = (images or size.pictures) * len(asked)
    return pass_s * (told + served + (drawn if images is None else 0))


def _answered(teacher: Teacher, noise: Tensor) -> float:
    return float(features_of(teacher, noise, precision="float32").sum())


class Ahead:
    """Passes a build's progress on as a share of build and report together; never falls.

    How long the build takes in all follows from how fast it goes; the report's share is known from
    its rehearsal.
    """

    def __init__(self, report: Report, report_s: float, *, resumed: bool) -> None:
        """Start the clock.

        Args:
            report: who is told.
            report_s: what the report will take.
            resumed: whether an earlier attempt has done a part of the build.
        """
        self._report, self._report_s, self._resumed = report, report_s, resumed
        self._started_s = time.perf_counter()
        self._first: float | None = None
        self._highest = 0.0

    def __call__(self, progress: Progress) -> None:
        """What the build, or then the report, says of itself."""
        if progress.stage == STAGE:
            fraction = self._highest + (1.0 - self._highest) * progress.fraction
            self._report(replace(progress, fraction=fraction))
            return
        if self._first is None:
            self._first = progress.fraction if self._resumed else 0.0
        done = progress.fraction - self._first
        share = GUESS
        if done > 0:
            build_s = (time.perf_counter() - self._started_s) / done
            share = build_s / (build_s + self._report_s)
        self._highest = max(self._highest, progress.fraction * share)
        self._report(replace(progress, fraction=self._highest))
