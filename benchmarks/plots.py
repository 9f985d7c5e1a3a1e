"""The plots of docs/results: SVG whose bytes depend on the figures alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.published import PublishedFigure
from benchmarks.rows import WAYPOINT_TITLES, Row, plotted, shots_of
from benchmarks.tables.accuracy import USUAL_SHOTS, title_of

STYLE: dict[Any, Any] = {"svg.hashsalt": "modelpool", "svg.fonttype": "none", "font.size": 9.0}
"""A fixed salt for ids, and text as text: no font of the machine's gets in."""
COLOURS = {"serving": "#1b6ca8", "paper": "#c05621", "centroid": "#2f855a", "ridge": "#805ad5"}
PUBLISHED_SPLIT = "test"  # what published figures are of
LINE_INCHES, HEAD_INCHES, TIME_INCHES, WIDTH_INCHES = 0.24, 1.1, 4.2, 10.0
LEGEND_COLUMNS, MOST_LEVELS = 2, 10
TIMES = {10: "10 s", 60: "1 min", 300: "5 min", 900: "15 min", 3600: "1 h", 14_400: "4 h"}


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
    """Accuracy of what builds delivered against their seconds, as it is served.

    Builds of one recipe that differ in their length are joined; what needs no build is a line.
    """
    shots = shots_of(rows) or [1]
    builds = [row for row in rows if row.waypoint == "last" and row.protocol == "serving"]
    lines = levels(rows)[:MOST_LEVELS]
    height = TIME_INCHES + LINE_INCHES * -(-(len(_families(builds)) + len(lines)) // LEGEND_COLUMNS)
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    panels = figure.subplots(1, len(shots), squeeze=False)[0]
    for panel, n_shot in zip(panels, shots, strict=True):
        for place, family in enumerate(_families(builds)):
            _curve(panel, family, n_shot, f"C{place}")
        for place, row in enumerate(lines):
            _level(panel, row, n_shot, place / max(len(lines) - 1, 1))
        _name_times(panel, [row.build_s() for row in builds])
        panel.set_title(f"{n_shot}-shot, accuracy in %")
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=LEGEND_COLUMNS)
    return figure


def levels(rows: Sequence[Row]) -> list[Row]:
    """What answers without a build, each by nearest centroid, or as it is served if only that."""
    still = [row for row in rows if not row.trained]
    compared = {row.result.name for row in still if row.protocol == "centroid"}
    return [
        row
        for row in still
        if row.protocol == ("centroid" if row.result.name in compared else "serving")
    ]


def _name_times(panel: Axes, seconds: Sequence[float]) -> None:
    panel.set_xscale("log")
    panel.set_xticks(list(TIMES), list(TIMES.values()))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(min([60.0, *seconds]) / 1.5, max([3600.0, *seconds]) * 1.5)
    panel.set_xlabel("build, computing time")


def _families(builds: Sequence[Row]) -> list[list[Row]]:
    """Builds beside the ones that they shorten or lengthen, the shortest first."""
    found: dict[str, list[Row]] = {}
    for row in builds:
        longest = row.result.heading["base"] if row.table == "build_time" else row.result.name
        found.setdefault(longest, []).append(row)
    return [sorted(family, key=Row.build_s) for family in found.values()]


def _curve(panel: Axes, family: Sequence[Row], n_shot: int, colour: str) -> None:
    points = [(row.build_s(), row.summary(n_shot)) for row in family]
    known = [(seconds, summary) for seconds, summary in points if summary is not None]
    panel.errorbar(
        [seconds for seconds, _ in known],
        [100 * summary.mean for _, summary in known],
        yerr=[100 * summary.over_episodes for _, summary in known],
        fmt="o-" if len(known) > 1 else "o",
        color=colour,
        label=family[-1].title.removesuffix(WAYPOINT_TITLES["last"]),
    )


def _level(panel: Axes, row: Row, n_shot: int, shade: float) -> None:
    summary = row.summary(n_shot)
    if summary is not None:
        colour = mpl.colormaps["viridis"](0.9 * shade)
        label = f"{row.title} ({row.protocol})"
        panel.axhline(100 * summary.mean, color=colour, linestyle="--", linewidth=1.0, label=label)
