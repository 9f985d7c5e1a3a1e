"""Accuracy per data set, split and protocol, beside what was published."""

from collections.abc import Sequence
from itertools import groupby

from benchmarks import markdown
from benchmarks.machines import Legend
from benchmarks.published import PublishedFigure
from benchmarks.recipe import PROTOCOLS, SPLITS
from benchmarks.rows import Row, shots_of

DATASETS = {
    "cifarfs": "CIFAR-FS",
    "miniimagenet": "mini-ImageNet",
    "mixed": "CIFAR-FS and mini-ImageNet mixed (a pool of models of either)",
    "cifarfs_miniimagenet_cub": "CIFAR-FS, mini-ImageNet and CUB mixed",
}
USUAL_SHOTS = (1, 5)
PUBLISHED_WHERE = ("test", "paper")


def accuracy_tables(
    rows: Sequence[Row], published: Sequence[PublishedFigure], legend: Legend
) -> list[str]:
    """One heading per data set; under it one table per split and protocol that has figures."""
    lines: list[str] = []
    for dataset in datasets_of(rows, published):
        own = [row for row in rows if row.dataset == dataset]
        others = [each for each in published if each.dataset == dataset]
        lines += [f"### {title_of(dataset)}", ""]
        for split in reversed(SPLITS):
            for protocol, meaning in PROTOCOLS.items():
                here = [row for row in own if (row.split, row.protocol) == (split, protocol)]
                beside = others if (split, protocol) == PUBLISHED_WHERE else []
                beside = [each for each in beside if each.n_shot in USUAL_SHOTS]
                if here or beside:
                    lines += [f"**{split} classes, protocol `{protocol}`**: {meaning}.", ""]
                    lines += accuracy_table(here, beside, legend)
    return lines


def datasets_of(rows: Sequence[Row], published: Sequence[PublishedFigure]) -> list[str]:
    """Measured data sets, then those only published for."""
    measured = sorted({row.dataset for row in rows})
    return list(dict.fromkeys([*measured, *(each.dataset for each in published)]))


def title_of(dataset: str) -> str:
    """How a data set is called in print."""
    return DATASETS.get(dataset, dataset)


def accuracy_table(
    rows: Sequence[Row], published: Sequence[PublishedFigure], legend: Legend
) -> list[str]:
    """Rows, the best first, then figures from elsewhere in italics."""
    shots = sorted({*shots_of(rows), *(each.n_shot for each in published)})
    columns = ["", *(f"{n_shot}-shot, %" for n_shot in shots), "seeds", "n", "machine", "command"]
    return markdown.table(
        columns,
        [
            *([row.title, *cells_of(row, shots), *origin_of(row, legend)] for row in rows),
            *published_lines(published, shots),
        ],
    )


def cells_of(row: Row, shots: Sequence[int]) -> list[str]:
    """The row's accuracy for each number of shots."""
    return [markdown.accuracy(row.summary(n_shot), trained=row.trained) for n_shot in shots]


def origin_of(row: Row, legend: Legend) -> list[str]:
    """Seeds, episodes, machine and command of a row."""
    seeds = ", ".join(str(run.seed) for run in row.result.runs)
    episodes = sorted({each.n for by_seed in row.by_shots.values() for each in by_seed.values()})
    return [seeds, ", ".join(map(str, episodes)), legend.of(row.result), f"`{row.command}`"]


def published_lines(figures: Sequence[PublishedFigure], shots: Sequence[int]) -> list[list[str]]:
    """One line per title and source; in the place of a command the source."""
    lines = []
    for (title, source), group in groupby(figures, key=lambda each: (each.title, each.source)):
        by_shots = {each.n_shot: each for each in group}
        counts = sorted({each.n for each in by_shots.values() if each.n is not None})
        cells = [_published_cell(by_shots.get(n_shot)) for n_shot in shots]
        n = ", ".join(map(str, counts)) or "not said"
        lines.append([f"*{title}*", *cells, "not said", n, "-", f"*{source}*"])
    return lines


def _published_cell(figure: PublishedFigure | None) -> str:
    if figure is None:
        return "-"
    interval = figure.half_width_95
    text = f"{100 * figure.mean:.2f}"  # as printed where it was published
    return text if interval is None else f"{text} ± {100 * interval:.2f}"


def other_shots(published: Sequence[PublishedFigure]) -> list[str]:
    """Published figures for numbers of shots that nothing here is measured at."""
    lines: list[str] = []
    rare = [each for each in published if each.n_shot not in USUAL_SHOTS]
    for dataset in dict.fromkeys(each.dataset for each in rare):
        own = [each for each in rare if each.dataset == dataset]
        shots = sorted({each.n_shot for each in own})
        columns = [title_of(dataset), *(f"{n_shot}-shot, %" for n_shot in shots)]
        body = published_lines(own, shots)
        lines += markdown.table(
            [*columns, "source"], [[*line[: len(columns)], line[-1]] for line in body]
        )
    return lines
