"""The program: what it writes, what it does not measure twice, what it refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import machine, run
from benchmarks.data import BenchmarkError
from benchmarks.results import Run, read_result
from benchmarks.run import main, run_recipe
from benchmarks.stock import Stock
from benchmarks.trace import worst_eta_error
from ml.learner import load_meta_learner
from tests.benchmarks.toy_bench import toy_recipe, write_data, write_pool

FREE = """
title = "toy FREE"
dataset = "toy"
pool = "toy_pool"
protocols = ["serving"]
splits = ["validation", "test"]
shots = [1, 5]
ways = 3

[subject]
kind = "free"

[subject.config]
n_way = 3
"""


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds in the order in which they are measured."""
    seeds: list[int] = []
    original = run.measure_seed

    def watched(plan: run.Plan, stock: Stock, seed: int, *, keep: Path | None) -> Run:
        seeds.append(seed)
        return original(plan, stock, seed, keep=keep)

    monkeypatch.setattr(run, "measure_seed", watched)
    return seeds


def test_a_trial_of_free_writes_every_fact_of_a_result_and_no_path(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    write_pool(tmp_path / "pools" / "toy_pool")
    (tmp_path / "mine.toml").write_text(FREE)
    directories = ["--data", tmp_path / "data", "--pool", tmp_path / "pools", "--out", tmp_path]
    directories += ["--keep", tmp_path / "kept"]
    assert main([str(each) for each in (tmp_path / "mine.toml", "--smoke", *directories)]) == 0
    (kept,) = (tmp_path / "kept").iterdir()
    assert load_meta_learner(kept).backbone == "conv4"
    text = (tmp_path / "mine.json").read_text()
    record = json.loads(text)
    assert record["settings"]["smoke"] is True
    assert record["settings"]["subject"]["config"]["save_every"] == 2
    assert record["settings"]["pool"]["models"] == 3
    facts = record["runs"][0]["facts"]
    assert facts["trace"]["recovered_tasks"] > 0
    assert facts["trace"]["worst_eta_error"] >= 0
    assert facts["build"]["wall_s"] > 0
    assert facts["memory"]["peak_resident_bytes"] > 1 << 20
    assert facts["machine"]["threads"] == 1
    figures = record["runs"][0]["figures"]
    assert {(f["waypoint"], f["split"], f["n_shot"]) for f in figures} == {
        ("last", split, n_shot) for split in ("validation", "test") for n_shot in (1, 5)
    }
    assert str(tmp_path) not in text
    assert not re.search(r'"/|\\\\', text)


def test_finished_seeds_are_kept_and_missing_ones_added(
    tmp_path: Path, stock: Stock, measured: list[int]
) -> None:
    path = tmp_path / "toy.json"
    recipe = toy_recipe("ensemble")
    run_recipe(replace(recipe, seeds=(0, 1)), stock, path)
    before = read_result(path).runs
    run_recipe(replace(recipe, seeds=(2, 1), title="another title"), stock, path)
    assert measured == [0, 1, 2]
    after = read_result(path)
    assert after.runs[:2] == before
    assert [each.seed for each in after.runs] == [0, 1, 2]
    assert after.heading["title"] == "another title"


@pytest.mark.parametrize("change", [{"episodes": 5}, {"subject": {"kind": "ensemble"}}])
def test_other_settings_are_measured_again(
    tmp_path: Path, stock: Stock, measured: list[int], change: dict[str, object]
) -> None:
    run_recipe(toy_recipe(), stock, tmp_path / "toy.json")
    run_recipe(replace(toy_recipe(), **change), stock, tmp_path / "toy.json")
    assert measured == [0, 0]


def test_force_measures_again_and_finds_the_same_figures(
    tmp_path: Path, stock: Stock, measured: list[int]
) -> None:
    first = run_recipe(toy_recipe(), stock, tmp_path / "toy.json")
    again = run_recipe(toy_recipe(), stock, tmp_path / "toy.json", force=True)
    assert measured == [0, 0]
    assert first.runs[0].figures == again.runs[0].figures
    assert read_result(tmp_path / "toy.json").runs[0].figures == again.runs[0].figures


def test_an_interrupted_recipe_keeps_the_seeds_it_finished(
    tmp_path: Path, stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = run.measure_seed

    def interrupted(plan: run.Plan, stock: Stock, seed: int, *, keep: Path | None) -> Run:
        if seed == 1:
            raise KeyboardInterrupt
        return original(plan, stock, seed)

    monkeypatch.setattr(run, "measure_seed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(toy_recipe(seeds=(0, 1)), stock, tmp_path / "toy.json")
    assert [each.seed for each in read_result(tmp_path / "toy.json").runs] == [0]


def test_a_trial_never_replaces_a_measurement(tmp_path: Path, stock: Stock) -> None:
    run_recipe(toy_recipe(), stock, tmp_path / "toy.json")
    with pytest.raises(BenchmarkError, match="a trial must not replace it"):
        run_recipe(toy_recipe(smoke=True), stock, tmp_path / "toy.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pixels"], "--data or in MODELPOOL_DATA"),
        (["nothing"], "no recipe 'nothing'"),
        (["pixels", "--data", "{tmp}"], "cifarfs_val.npz does not exist"),
    ],
)
def test_what_is_missing_is_said_and_the_program_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    said = [each.replace("{tmp}", str(tmp_path)) for each in arguments]
    assert main([*said, "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_directories_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELPOOL_DATA", str(tmp_path / "a"))
    monkeypatch.setenv("MODELPOOL_POOL", str(tmp_path / "b"))
    assert run.read_options(["x"]).data == tmp_path / "a"
    assert run.read_options(["x", "--pool", "c"]).pool == Path("c")
    assert run.read_options(["x", "--seeds", "4,2"]).seeds == (4, 2)


def test_results_alone_do_not_make_the_tree_dirty(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def git(*arguments: str) -> str:
        asked.append(arguments)
        return "abc" if arguments[0] == "rev-parse" else ""

    monkeypatch.setattr(machine, "_git", git)
    assert machine.describe_code() == {"commit": "abc", "dirty": False}
    assert {":!benchmarks/results", ":!docs/RESULTS.md"} <= set(asked[1])
    monkeypatch.setattr(machine, "_git", lambda *_: None)
    assert machine.describe_code() == {"commit": None, "dirty": None}


def test_the_eta_error_is_the_worst_after_the_first_tenth() -> None:
    """At 5 s the prediction is 100 s, but too early; at 20 s it is 50 s; at 90 s it is 100 s."""
    assert worst_eta_error([(5, 0.005), (20, 0.4), (90, 0.9)], 100) == pytest.approx(0.5)
    assert worst_eta_error([(5, 0.5)], 100) is None
