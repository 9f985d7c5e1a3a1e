"""`python -m benchmarks.compare`: results as one page, docs/RESULTS.md, with its plots.

The page and the plots are functions of the JSON files and of published.toml: nothing else enters,
no clock and no randomness, so that unchanged results change no byte.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import BenchmarkError
from benchmarks.machines import Legend
from benchmarks.published import PublishedFigure, read_published
from benchmarks.results import KIND, RESULTS, Result, read_records, read_result
from benchmarks.rows import Row, plotted, rows_of
from benchmarks.tables.accuracy import accuracy_tables, other_shots, title_of
from benchmarks.tables.answering import answering_tables
from benchmarks.tables.builds import run_table, selection_table
from benchmarks.tables.growth import growth_tables
from benchmarks.tables.load import load_tables
from benchmarks.tables.recovery import recovery_tables
from benchmarks.tables.replay import replay_tables
from benchmarks.tables.switches import switch_tables
from benchmarks.tables.throughput import throughput_tables

DOCS = RESULTS.parent.parent / "docs"
PAGE, PLOTS = "RESULTS.md", "results"
MAIN = "main"

INTRODUCTION = """\
# Results

Written by `make bench` (or `python -m benchmarks.compare` alone) from `benchmarks/results/*.json`;
not to be edited.

Accuracy in %, 5-way.

- **± over episodes**: the 95 % interval over the n episodes of each seed. Every row answers the
  same episodes.
- **[± over seeds]**: the 95 % t interval over the row's seeds. Only this one speaks of the method
  rather than of the build at hand; `[one build]` warns where there is a single seed of something
  that was trained.
- **last, selected, peak**: a run's final learner; the waypoint that was best on validation classes,
  then asked like any other row; and the very value that chose it, which is optimistic and stands
  under Runs only. Test classes choose nothing.
- *Lines in italics were not measured here.* FREE's published figures are peaks on the test classes:
  the best of many evaluations along a run, so above what the same run would be worth if it were not
  chosen so.
"""

Tables = Callable[[Sequence[Mapping[str, Any]], Legend], list[str]]

OTHER_KINDS: Mapping[str, tuple[str, Tables]] = {
    "answering": ("Answering", answering_tables),
    "recovery": ("Recovery", recovery_tables),
    "throughput": ("Throughput", throughput_tables),
    "replay": ("Replay", replay_tables),
    "growth": ("Growth", growth_tables),
    "load": ("Load", load_tables),
}
"""Kinds of records that other programs write: heading, and what makes their tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that the page is made from."""

    results: tuple[Result, ...]
    others: Mapping[str, tuple[Mapping[str, Any], ...]]
    """Records of other programs, by kind."""
    published: tuple[PublishedFigure, ...]

    def rows(self) -> list[Row]:
        """Every row of every table."""
        return rows_of(self.results)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and its plots; the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of JSON files")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the page goes")
    options = parser.parse_args(arguments)
    try:
        findings = read_findings(options.results)
    except BenchmarkError as error:
        print(f"The results cannot be compared.\n{error}", file=sys.stderr)  # noqa: T201
        return 1
    # Imported late: the page needs no matplotlib, only the plots do.
    from benchmarks.plots import draw_plots

    options.docs.mkdir(parents=True, exist_ok=True)
    draw_plots(findings.rows(), findings.published, options.docs / PLOTS)
    (options.docs / PAGE).write_text(render(findings))
    return 0


def read_findings(directory: Path) -> Findings:
    """Every record of a directory of results, and what was published.

    Raises:
        BenchmarkError: if a file cannot be read, is of an unknown kind, or was a trial.
    """
    results: list[Result] = []
    others: dict[str, list[Mapping[str, Any]]] = {kind: [] for kind in OTHER_KINDS}
    for path, record in read_records(directory):
        if record["kind"] == KIND:
            results.append(read_result(path))
        elif record["kind"] in others:
            others[record["kind"]].append(record)
        else:
            raise BenchmarkError(f"{path} is of the unknown kind {record['kind']!r}: remove it.")
        if record.get("smoke") or (results and results[-1].smoke):
            raise BenchmarkError(
                f"{path} comes from a trial (--smoke) and measures nothing: remove it, or run its "
                "recipe without --smoke."
            )
    return Findings(
        results=tuple(result for result in results if result.runs),
        others={kind: tuple(records) for kind, records in others.items()},
        published=read_published(),
    )


def render(findings: Findings) -> str:
    """The whole page."""
    others = [record for records in findings.others.values() for record in records]
    rows, legend = findings.rows(), Legend(findings.results, others)
    main_rows = [row for row in rows if row.table == MAIN]
    lines = [*INTRODUCTION.splitlines(), "", "## Accuracy", ""]
    lines += plot_lines(rows)
    lines += accuracy_tables(main_rows, findings.published, legend)
    for name in sorted({row.table for row in rows} - {MAIN}):
        lines += [f"## {name.replace('_', ' ').capitalize()}", ""]
        lines += switch_tables([row for row in rows if row.table == name], rows, legend)
    for kind, (heading, tables) in OTHER_KINDS.items():
        if findings.others[kind]:
            lines += [f"## {heading}", "", *tables(findings.others[kind], legend)]
    lines += ["## Published at other numbers of shots", "", *other_shots(findings.published)]
    lines += ["## Runs", "", *selection_table(findings.results)]
    lines += run_table(findings.results, legend)
    lines += ["Code: the commit; a + means that the tree differed from it. Machines:", ""]
    lines += [*legend.lines(), "", *note_lines(findings.results)]
    return "\n".join(lines).rstrip("\n") + "\n"


def plot_lines(rows: Sequence[Row]) -> list[str]:
    """The plots of each data set and split that was asked."""
    lines, kinds = [], {"forest": "accuracy of every row", "time": "accuracy against build time"}
    for dataset, split in plotted(rows):
        for kind, words in kinds.items():
            title = f"{title_of(dataset)}, {split} classes: {words}"
            lines += [f"![{title}]({PLOTS}/{kind}_{dataset}_{split}.svg)", ""]
    return lines


def note_lines(results: Sequence[Result]) -> list[str]:
    """What a recipe says about its row."""
    noted = [each for each in results if each.heading["note"]]
    lines = [f"- {each.heading['title']}: {each.heading['note']}." for each in noted]
    return ["Notes:", "", *lines] if lines else []


if __name__ == "__main__":
    sys.exit(main())
