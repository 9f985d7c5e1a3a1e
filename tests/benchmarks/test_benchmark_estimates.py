"""The comparison of a report's estimate with the truth: its arithmetic, and a run from files."""

import json
import sys
from pathlib import Path

import pytest
import torch
from toy_bench import write_pool

from benchmarks import estimates
from benchmarks.ranks import bootstrapped, ranks, spearman


def test_equal_values_share_their_rank() -> None:
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]


def test_rank_correlation_is_that_of_the_textbook() -> None:
    """1 - 6 sum d^2 / (n (n^2 - 1)) without ties: d = 1, 1, 0, 1, 1, so 1 - 24 / 120."""
    a, b = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([2.0, 1.0, 3.0, 5.0, 4.0])
    assert spearman(a, b) == pytest.approx(0.8)
    assert spearman(a, -a.exp()) == pytest.approx(-1.0)


def test_a_bootstrap_interval_is_about_two_standard_errors_wide() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    found = bootstrapped(lambda rows: float(values[rows].mean()), 400)
    width = 2 * 1.96 * float(values.std()) / 20
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.1)


def test_a_verdict_is_wrong_where_the_truth_does_not_agree() -> None:
    def sure(mean: float) -> torch.Tensor:
        return mean + 0.001 * torch.randn(50, generator=torch.Generator().manual_seed(0))

    true = {"a": {1: sure(0.5)}, "b": {1: sure(0.4)}, "c": {1: sure(0.3)}}
    estimated = {"a": {1: sure(0.9)}, "b": {1: sure(0.6)}, "c": {1: sure(0.7)}}
    assert estimates.verdicts(true, estimated, 1) == {
        "shown_and_better": 2,
        "shown_and_not_better": 1,
        "not_shown": 3,
    }


def test_the_program_measures_a_pool_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toy_bench import write_data

    write_data(tmp_path, "cifarfs")
    pool = write_pool(tmp_path / "pool", models=4)
    out = tmp_path / "out.json"
    monkeypatch.setattr(
        estimates,
        "BUILDS",
        {
            "multi_teacher": {
                "preset": "tiny",
                "images": 40,
                "batch_images": 20,
                "refine_steps": 1,
                "steps": 4,
                "batch_size": 8,
                "save_every": 2,
            }
        },
    )
    for name, value in {
        "ALONE": 2,
        "TOGETHER": (2,),
        "ASKED": (1, 0),
        "EXAMS": (0,),
        "TRUE_EPISODES": 3,
    }.items():
        monkeypatch.setattr(estimates, name, value)
    monkeypatch.setattr(estimates, "FULL", estimates.FULL.__class__(pictures=200, episodes=4))
    arguments = ["estimates", "--data", str(tmp_path), "--pool", str(pool), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    estimates.main()
    exam = json.loads(out.read_text())["exams"]["0"]
    assert {"pixels", "multi_teacher, step 2", "multi_teacher, end", "ensemble, all asked"} <= set(
        exam["subjects"]
    )
    assert exam["1"]["n"] == len(exam["subjects"]) == 10
