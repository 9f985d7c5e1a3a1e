"""The plots of docs/results: SVG whose bytes depend on the figures alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.published import PublishedFigure
from benchmarks.rows import Row, plotted, shots_of
from benchmarks.tables.accuracy import USUAL_SHOTS, title_of

STYLE: dict[Any, Any] = {"svg.hashsalt": "modelpool", "svg.fonttype": "none", "font.size": 9.0}
"""A fixed salt for ids, and text as text: no font of the machine's gets in."""
COLOURS = {"serving": "#1b6ca8", "paper": "#c05621", "centroid": "#2f855a", "ridge": "#805ad5"}
PUBLISHED_SPLIT = "test"  # what published figures are of
LINE_INCHES, HEAD_INCHES, WIDTH_INCHES = 0.24, 1.1, 10.0


def draw_plots(
    rows: Sequence[Row], published: Sequence[PublishedFigure], directory: Path
) -> list[Path]:
    """For each data set and split that was asked: every row's accuracy, and it against build time.

    Returns:
        The files written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for (dataset, split), own in plotted(rows).items():
        others = [
            each
            for each in published
            if each.dataset == dataset and each.n_shot in USUAL_SHOTS and split == PUBLISHED_SPLIT
        ]
        with mpl.rc_context(STYLE):
            for kind, figure in (("forest", forest(own, others)), ("time", against_time(own))):
                figure.suptitle(f"{title_of(dataset)}, {split} classes")
                written.append(directory / f"{kind}_{dataset}_{split}.svg")
                figure.savefig(written[-1], format="svg", metadata={"Date": None})
    return written


def forest(rows: Sequence[Row], published: Sequence[PublishedFigure]) -> Figure:
    """Every row's accuracy with its interval over episodes, one panel per number of shots."""
    shots = sorted({*shots_of(rows), *(each.n_shot for each in published)}) or [1]
    names = [f"{row.title} ({row.protocol})" for row in rows]
    foreign = list(dict.fromkeys(each.title for each in published))
    height = HEAD_INCHES + LINE_INCHES * (len(names) + len(foreign))
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    panels = figure.subplots(1, len(shots), sharey=True, squeeze=False)[0]
    for panel, n_shot in zip(panels, shots, strict=True):
        for place, row in enumerate(rows):
            _point(panel, row, n_shot, place)
        for each in published:
            if each.n_shot == n_shot:
                place = len(names) + foreign.index(each.title)
                panel.plot(100 * each.mean, place, "D", color="black", fillstyle="none")
        panel.set_title(f"{n_shot}-shot, accuracy in %")
        panel.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(names) + len(foreign)), [*names, *foreign])
    panels[0].invert_yaxis()
    return figure


def _point(panel: Axes, row: Row, n_shot: int, place: int) -> None:
    summary = row.summary(n_shot)
    if summary is not None:
        panel.errorbar(
            100 * summary.mean,
            place,
            xerr=100 * summary.over_episodes,
            fmt="o",
            color=COLOURS[row.protocol],
            markersize=4,
        )


def against_time(rows: Sequence[Row]) -> Figure:
    """Accuracy of what was trained against its build's seconds; of the rest as dashed lines."""
    shots = shots_of(rows) or [1]
    figure = Figure(figsize=(WIDTH_INCHES, 4.5), layout="constrained")
    panels = figure.subplots(1, len(shots), squeeze=False)[0]
    for panel, n_shot in zip(panels, shots, strict=True):
        for row in rows:
            summary = row.summary(n_shot)
            if summary is None or row.protocol == "ridge":
                continue
            label, colour = f"{row.title} ({row.protocol})", COLOURS[row.protocol]
            if not row.trained:
                panel.axhline(100 * summary.mean, color=colour, alpha=0.3, linestyle="--")
                continue
            seconds, error = row.build_s(), 100 * summary.over_episodes
            panel.errorbar(seconds, 100 * summary.mean, yerr=error, fmt="o", color=colour)
            panel.annotate(label, (seconds, 100 * summary.mean), fontsize=7)
        panel.set_xscale("log")
        panel.set_xlabel("seconds of the build (the processor's, where it computed)")
        panel.set_title(f"{n_shot}-shot, accuracy in %")
    return figure
