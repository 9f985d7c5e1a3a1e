"""How much a report examines, by what the build before it cost; counted, never timed.

So a seed gives the same report everywhere, and a report stays a small share of its build.
"""

from dataclasses import dataclass

FULL_EFFORT = 300_000  # images through a network: half a minute to several of a core


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSize:
    """What a report may spend."""

    pictures: int = 400
    """Drawn where there is no validation set."""
    episodes: int = 100
    """Per number of shots."""
    teacher_flops: float = 5e11
    """Of all teachers asked about all images: half a minute of a core."""


FULL = ReportSize()


def size_for(effort: int) -> ReportSize:
    """The report that a build of so much work deserves.

    Args:
        effort: how many times an image passes through a network, about.
    """
    scale = min(max(effort / FULL_EFFORT, 0.1), 1.0)
    return ReportSize(
        pictures=round(FULL.pictures * (0.5 + 0.5 * scale)),
        episodes=round(FULL.episodes * scale),
        teacher_flops=FULL.teacher_flops * scale,
    )
