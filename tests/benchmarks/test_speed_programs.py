"""answering, recovery, throughput, replay: what they count is right; each leaves a whole record."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import answering, recovery, replay, roofline, throughput
from benchmarks.curves import INVERSION, META, NEW, PUBLISHED, Point, criteria_of
from benchmarks.machines import Legend
from benchmarks.roofline import Cost, Rates, cost_of
from benchmarks.tables.answering import answering_tables
from benchmarks.tables.recovery import recovery_tables
from benchmarks.tables.replay import replay_tables
from benchmarks.tables.throughput import throughput_tables
from tests.benchmarks.toy_bench import write_pool


def curve(*points: tuple[int, float, float, float]) -> list[Point]:
    return [
        Point(steps=steps, seconds=seconds, accuracy=accuracy, cross_entropy=0.0, gap=gap)
        for steps, seconds, accuracy, gap in points
    ]


def test_a_speed_up_is_the_geometric_mean_over_teachers_of_times_to_the_same_quality() -> None:
    curves = {
        META: [
            curve((1, 1.0, 0.9, 9.0), (2, 2.0, 0.95, 4.0)),
            curve((1, 1.0, 0.96, 5.0), (2, 2.0, 1.0, 3.0)),
        ],
        NEW: [
            curve((5, 4.0, 0.94, 8.0), (7, 8.0, 0.97, 6.0), (200, 200.0, 1.0, 4.0)),
            curve((5, 4.0, 0.99, 8.0), (7, 8.0, 1.0, 6.0), (200, 200.0, 1.0, 2.0)),
        ],
        PUBLISHED: [curve((5, 50.0, 1.0, 30.0))] * 2,
        INVERSION: [curve((200, 90.0, 1.0, 8.0))] * 2,
    }
    recognised, published, gaps, inversion = criteria_of(curves)
    assert recognised["speed_up"] == pytest.approx((8.0 / 2.0 * 4.0 / 1.0) ** 0.5)
    assert recognised["steps"] == {META: 1.5, NEW: 6.0}
    assert published["speed_up"] == pytest.approx((50.0 / 2.0 * 50.0 / 1.0) ** 0.5)
    # The second teacher's gap of 2 was never met: it counts as not met, not as a guess.
    assert gaps["met"] == {META: 1, NEW: 2}
    assert (gaps["speed_up"], gaps["n"]) == (pytest.approx(100.0), 1)
    assert gaps["speed_up_95"] is None
    assert inversion["speed_up"] == pytest.approx((90.0 / 2.0 * 90.0 / 1.0) ** 0.5)


def test_a_new_generator_is_timed_to_the_quality_of_the_meta_generators_own_steps() -> None:
    curves = {
        META: [curve((1, 1.0, 1.0, 9.0), (5, 2.0, 1.0, 4.0), (10, 4.0, 1.0, 3.0))],
        NEW: [curve((20, 10.0, 1.0, 4.5), (30, 16.0, 1.0, 3.9), (200, 100.0, 1.0, 2.0))],
        PUBLISHED: [curve((5, 50.0, 1.0, 30.0))],
        INVERSION: [curve((200, 90.0, 1.0, 8.0))],
    }
    found = {each["criterion"]: each["speed_up"] for each in criteria_of(curves)}
    assert found["BatchNorm gap of the meta-generator's 5 steps"] == pytest.approx(16.0 / 2.0)
    assert found["BatchNorm gap of the meta-generator's 10 steps"] == pytest.approx(100.0 / 4.0)


def test_operations_and_bytes_of_a_matrix_product_are_counted() -> None:
    left, right = torch.ones(8, 16), torch.ones(16, 4)
    cost = cost_of(lambda: left @ right)
    assert cost.operations == 2 * 8 * 16 * 4
    assert cost.bytes_moved == 4 * (8 * 16 + 16 * 4 + 8 * 4)


def test_the_roof_is_the_slower_of_arithmetic_and_memory() -> None:
    rates = Rates(operations_per_s=100.0, bytes_per_s=10.0)
    assert rates.least_seconds(Cost(operations=200, bytes_moved=10)) == 2.0
    assert rates.least_seconds(Cost(operations=100, bytes_moved=50)) == 5.0


@pytest.fixture
def record_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(program, *arguments: str) -> dict:
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        monkeypatch.setattr(sys, "argv", ["program", *arguments, "--out", str(out)])
        program.main()
        (path,) = out.iterdir()
        assert str(tmp_path) not in path.read_text()
        return json.loads(path.read_text())

    return run


def test_the_ensembles_cost_stands_beside_the_learners(
    record_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PROCESSES", 1)
    pool = write_pool(tmp_path / "toys", 3)
    arguments = ("--pool-name", "toys", "--asked", "1", "--rounds", "2")
    record = record_of(answering, "--pool", str(pool), *arguments)
    learner, one, everyone = record["subjects"]
    assert [each["name"] for each in (one, everyone)] == [
        "recipe ensemble, 1 of 3 teachers asked",
        "recipe ensemble, all 3 teachers asked",
    ]
    assert {each["ratio"] for each in learner["requests"].values()} == {1.0}
    # A query to a classifier that is ready costs what those asked cost, and nothing else.
    assert everyone["operations_per_query"] == 3 * one["operations_per_query"]
    assert one["file_bytes"] == pytest.approx(everyone["file_bytes"], abs=64)  # all are kept
    assert all(each["memory_bytes"] > 0 for each in record["subjects"])
    page = "\n".join(answering_tables([record], Legend([], [record])))
    assert "| recipe ensemble, all 3 teachers asked | " in page
    assert "--pool POOL --pool-name toys --asked 1 --rounds 2" in page


def test_ratios_of_times_are_geometric_means_over_rounds() -> None:
    found = answering.ratio_of([2.0, 8.0, 4.0], [1.0, 1.0, 1.0])
    assert found["ratio"] == pytest.approx(4.0)
    assert found["median_s"] == 4.0
    low, high = found["ratio_95"]
    assert low * high == pytest.approx(16.0)


def test_recovery_leaves_a_record_whose_table_names_its_command(
    record_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("META_BUDGETS", "NEW_BUDGETS", "PUBLISHED_BUDGETS", "INVERSION_BUDGETS"):
        monkeypatch.setattr(recovery, name, (1,))
    pool = write_pool(tmp_path / "toys", 4)
    arguments = ("--preset", "tiny", "--held-out", "2", "--outer-steps", "1")
    sizes = ("latent_dim=4", "generator_width=2")
    changes = [each for size in sizes for each in ("--set", size)]
    record = record_of(recovery, "--pool", str(pool), "--pool-name", "toys", *arguments, *changes)
    assert record["kind"] == "recovery"
    assert {name: len(points) for name, points in record["curves"].items()} == {
        META: 1,
        NEW: 1,
        PUBLISHED: 1,
        INVERSION: 1,
    }
    page = "\n".join(recovery_tables([record], Legend([], [record])))
    assert "--pool POOL --pool-name toys --preset tiny --set latent_dim=4" in page


def test_throughput_leaves_a_record_with_a_ratio_for_every_way(
    record_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "MATRIX", 64)
    monkeypatch.setattr(roofline, "COPIED", 1 << 16)
    pool = write_pool(tmp_path / "toys", 2)
    record = record_of(throughput, "--pool", str(pool), "--rounds", "1", "--at-once", "2")
    assert record["ways"][0]["speed_up"] == 1.0
    assert [way["tasks"] for way in record["ways"]] == [1, 1, 2]
    assert len({way["operations_per_task"] for way in record["ways"]}) == 1
    assert "2 in a stack" in "\n".join(throughput_tables([record], Legend([], [record])))


def test_replay_leaves_a_record_in_which_both_ways_agree(record_of) -> None:
    record = record_of(replay, "--episodes", "2", "--rounds", "2", "--image-size", "16")
    assert [case["n_shot"] for case in record["cases"]] == [1, 5]
    assert all(case["largest_difference"] < 1e-5 for case in record["cases"])
    assert "conv4" in "\n".join(replay_tables([record], Legend([], [record])))


@pytest.mark.parametrize("program", [recovery, throughput])
def test_a_pool_that_is_not_there_is_a_sentence_and_no_traceback(
    program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--pool", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"cannot go on.*\n.*holds no checkpoint"):
        program.main()
