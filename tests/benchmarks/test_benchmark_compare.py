"""The results page and its plots: functions of the JSON files alone, with honest intervals."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from benchmarks import compare
from benchmarks.compare import OTHER_KINDS, Findings, main, read_findings, render
from benchmarks.data import BenchmarkError
from benchmarks.intervals import T_975, difference, summarise, t_half_width
from benchmarks.published import PublishedFigure, read_published
from benchmarks.results import (
    RESULTS,
    Accuracy,
    Figure,
    Result,
    Run,
    read_result,
    write_result,
)
from benchmarks.rows import rows_of

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {
    "cpu": "Abacus",
    "cores": 2,
    "threads": 1,
    "gpu": None,
    "system": "Linux",
    "torch": "2",
    "python": "3",
}


def reached(mean: float, half_width: float = 0.01) -> Accuracy:
    return Accuracy(mean=mean, std=0.1, half_width_95=half_width, n=600)


def toy_run(seed: int, mean: float, *, waypoint: str = "last", cpu: str = "Abacus") -> Run:
    figures = tuple(
        Figure(
            waypoint=waypoint,
            split=split,
            protocol="serving",
            n_shot=n_shot,
            accuracy=reached(round(mean + n_shot / 100, 6)),
        )
        for split in ("validation", "test")
        for n_shot in (1, 5)
    )
    facts = {
        "machine": {**MACHINE, "cpu": cpu},
        "code": {"commit": "0123456789", "dirty": True},
        "build": {"wall_s": 12.0, "cpu_s": 6.0},
        "evaluation": {"wall_s": 3.0, "cpu_s": 3.0},
        "memory": {"peak_resident_bytes": 3 << 20, "peak_gpu_bytes": None},
        "trace": {"recovered_tasks": 77, "worst_eta_error": 0.25, "worst_eta_error_cpu": 0.05},
    }
    return Run(seed=seed, figures=figures, facts=facts)


def toy_result(name: str, means: list[float], *, table: str = "main", base: str = "") -> Result:
    return Result(
        name=name,
        heading={"title": f"the {name}", "table": table, "base": base, "note": "a note"},
        settings={"dataset": "cifarfs", "device": "cpu", "smoke": False},
        runs=tuple(toy_run(seed, mean) for seed, mean in enumerate(means)),
    )


def findings(*results: Result, published: tuple[PublishedFigure, ...] = ()) -> Findings:
    others = dict.fromkeys(OTHER_KINDS, ())
    return Findings(results=results, others=others, published=published)


def line_with(page: str, text: str) -> str:
    (line, *_) = [each for each in page.splitlines() if text in each]
    return line


def test_the_committed_page_is_what_the_committed_results_render_to() -> None:
    page = ROOT / "docs" / "RESULTS.md"
    assert page.read_text() == render(read_findings(RESULTS)), (
        "run `python -m benchmarks.compare` and look at the difference"
    )


def test_the_quantiles_are_students() -> None:
    for freedom, quantile in enumerate(T_975, start=1):
        assert quantile == pytest.approx(stats.t.ppf(0.975, freedom), abs=6e-4)


def test_the_interval_over_seeds_is_scipys_and_needs_two_seeds() -> None:
    values = [0.3, 0.35, 0.32]
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    assert t_half_width(values) == pytest.approx((high - low) / 2, rel=1e-3)
    assert t_half_width([0.3]) is None


def test_more_seeds_on_the_same_episodes_do_not_narrow_the_interval_over_episodes() -> None:
    summary = summarise({0: reached(0.3, 0.01), 1: reached(0.4, 0.03)})
    assert (summary.mean, summary.over_episodes) == pytest.approx((0.35, 0.02))
    assert (summary.n_seeds, summary.n_episodes) == (2, 600)


def test_a_difference_is_taken_seed_by_seed_over_the_seeds_in_common() -> None:
    row = {0: reached(0.5, 0.03), 1: reached(0.6, 0.03), 7: reached(0.9)}
    base = {0: reached(0.4, 0.04), 1: reached(0.45, 0.04)}
    gap = difference(row, base)
    assert gap is not None
    assert gap.mean == pytest.approx((0.1 + 0.15) / 2)
    assert gap.over_episodes == pytest.approx(0.05)
    assert gap.over_seeds == pytest.approx(t_half_width([0.1, 0.15]))
    assert difference(row, {3: reached(0.1)}) is None


def test_a_row_names_accuracy_seeds_episodes_machine_and_command() -> None:
    page = render(findings(toy_result("mine", [0.30, 0.34])))
    line = line_with(page, "| the mine, last |")
    spread = 100 * t_half_width([0.30, 0.34])
    assert f"33.0 ± 1.0 [± {spread:.1f}]" in line
    assert "| 0, 1 | 600 | A | `python -m benchmarks.run mine --seeds 0,1` |" in line
    assert "- A: Abacus, 2 cores" in page
    run = line_with(page, "| `mine` | 1 |")
    assert "`0123456` +" in run
    assert "| 12.0 / 6.0 | 3.0 | 3 | 77 | 25 % / 5 % |" in run


def test_a_single_build_is_called_one_and_an_untrained_row_is_not() -> None:
    trained = toy_result("mine", [0.3])
    untrained = replace(toy_result("other", [0.2]), runs=(toy_run(0, 0.2, waypoint="untrained"),))
    page = render(findings(trained, untrained))
    assert "[one build]" in line_with(page, "| the mine, last |")
    assert "[one build]" not in line_with(page, "| the other |")


def test_published_figures_stand_apart_in_italics_as_peaks_on_test_classes() -> None:
    page = render(replace(findings(toy_result("mine", [0.3])), published=read_published()))
    line = line_with(page, "39.13")
    assert line.startswith("| *FREE, published: peak on test classes*")
    assert {"39.13", "45.45", "31.51"} <= {
        f"{100 * each.mean:.2f}" for each in read_published() if each.title.startswith("FREE")
    }


def test_a_switch_is_shown_with_its_difference_from_its_base() -> None:
    base = toy_result("base", [0.30, 0.32], table="switches")
    row = toy_result("row", [0.33, 0.34], table="switches", base="base")
    orphan = toy_result("orphan", [0.33], table="switches", base="gone")
    page = render(findings(base, row, orphan))
    spread = 100 * t_half_width([0.03, 0.02])
    assert f"| +2.5 ± 1.4 [± {spread:.1f}] |" in line_with(page, "| the row, last |")
    assert "| base |" in line_with(page, "| the base, last |")
    assert "`gone` not measured" in line_with(page, "| the orphan, last |")


def test_the_best_row_comes_first() -> None:
    rows = rows_of([toy_result("worse", [0.2]), toy_result("better", [0.4])])
    assert [row.result.name for row in rows if row.split == "test"] == ["better", "worse"]


def test_two_machines_get_two_letters_in_an_order_of_their_own() -> None:
    one = replace(toy_result("one", [0.3]), runs=(toy_run(0, 0.3, cpu="Zuse"),))
    two = toy_result("two", [0.3])
    for page in (render(findings(one, two)), render(findings(two, one))):
        assert "- A: Abacus" in page
        assert "- B: Zuse" in page
        assert "| B |" in line_with(page, "| the one, last |")


def test_the_peak_is_shown_as_optimistic_and_only_under_runs() -> None:
    result = toy_result("mine", [0.3])
    peak = {"mean": 0.777, "std": 0.1, "half_width_95": 0.02, "n": 100}
    selection = {
        "step": 40,
        "peak": peak,
        "protocol": "serving",
        "n_shot": 5,
        "curve": [{"step": 40, "accuracy": 0.777}],
    }
    run = replace(result.runs[0], facts={**result.runs[0].facts, "selection": selection})
    page = render(findings(replace(result, runs=(run,))))
    before, after = page.split("## Runs")
    assert "77.7 ± 2.0" not in before
    assert "peak on validation, optimistic" in after
    assert "| `mine` | 0 | 1 | 40 | 77.7 ± 2.0 | 5-shot, `serving`, n = 100 |" in after


def write(directory: Path, result: Result) -> None:
    write_result(directory / f"{result.name}.json", result)


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    result = toy_result("mine", [0.3, 0.4])
    write(tmp_path, result)
    assert read_result(tmp_path / "mine.json") == result
    assert [each.name for each in tmp_path.iterdir()] == ["mine.json"]


def test_trials_and_unknown_records_are_refused(tmp_path: Path) -> None:
    trial = toy_result("mine", [0.3])
    write(tmp_path, replace(trial, settings={**trial.settings, "smoke": True}))
    with pytest.raises(BenchmarkError, match="comes from a trial"):
        read_findings(tmp_path)
    (tmp_path / "mine.json").write_text('{"kind": "guess"}')
    with pytest.raises(BenchmarkError, match="unknown kind 'guess'"):
        read_findings(tmp_path)
    (tmp_path / "mine.json").write_text("[]")
    with pytest.raises(BenchmarkError, match="does not say its `kind`"):
        read_findings(tmp_path)


def test_a_base_of_another_table_stands_first_beside_what_changes_one_thing_of_it() -> None:
    brief = toy_result("brief", [0.30], table="build_time", base="whole")
    page = render(findings(toy_result("whole", [0.34, 0.36]), brief))
    section = page[page.index("## Build time") :]
    whole, shown = (line_with(section, f"| the {name}, last |") for name in ("whole", "brief"))
    assert section.index(whole) < section.index(shown)
    assert "| base | 6 | 0, 1 |" in whole  # seconds of the processor, not of a shared clock
    assert "-4.0 ± 1.4 [one build] | 6 | 0 |" in shown


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_records_of_other_programs_get_a_heading_and_their_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    heading, _ = OTHER_KINDS[kind]
    tables = {
        **OTHER_KINDS,
        kind: (heading, lambda records, _: [f"{each['x']}" for each in records]),
    }
    monkeypatch.setattr(compare, "OTHER_KINDS", tables)
    for number in (7, 8):
        record = {"kind": kind, "machine": MACHINE, "x": f"figure {number}"}
        (tmp_path / f"{number}.json").write_text(json.dumps(record))
    page = render(read_findings(tmp_path))
    assert f"## {heading}\n\nfigure 7\nfigure 8" in page
    assert "- A: Abacus" in page


def test_unchanged_results_render_to_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = tmp_path / "results"
    write(results, toy_result("mine", [0.3, 0.35]))
    pages = []
    for name in ("first", "second"):
        docs = tmp_path / name
        assert main(["--results", str(results), "--docs", str(docs)]) == 0
        pages.append({p.name: p.read_bytes() for p in docs.rglob("*") if p.is_file()})
    assert pages[0] == pages[1]
    plots = {
        f"{kind}_cifarfs_{split}.svg"
        for kind in ("forest", "time")
        for split in ("validation", "test")
    }
    assert set(pages[0]) == {"RESULTS.md", *plots}
    assert all(f"results/{plot})".encode() in pages[0]["RESULTS.md"] for plot in plots)
    assert b"the mine, last (serving)" in pages[0]["forest_cifarfs_test.svg"]
    assert b"<dc:date>" not in pages[0]["forest_cifarfs_test.svg"]


def test_a_shorter_build_is_joined_with_the_whole_one_and_what_needs_no_build_is_a_line() -> None:
    plots = pytest.importorskip("benchmarks.plots")
    whole, short = toy_result("whole", [0.5]), toy_result("short", [0.4], table="build_time")
    short = replace(short, heading={**short.heading, "base": "whole"})
    short.runs[0].facts["build"]["cpu_s"] = 2.0
    still = toy_result("still", [0.3])
    figures = tuple(
        replace(each, waypoint="untrained", protocol=protocol)
        for protocol in ("centroid", "ridge", "serving")
        for each in still.runs[0].figures
    )
    still = replace(still, runs=(replace(still.runs[0], figures=figures),))
    rows = [row for row in rows_of([whole, short, still]) if row.split == "test"]
    figure = plots.against_time(rows)
    one_shot, _ = figure.axes
    (curve,) = one_shot.containers
    assert curve.lines[0].get_xydata().tolist() == [[2.0, 41.0], [6.0, 51.0]]
    levels = [line for line in one_shot.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in levels] == [pytest.approx(31.0)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "the still (centroid)",
        "the whole",
    ]
