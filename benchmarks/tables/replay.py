"""The tables of records that benchmarks.replay writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import markdown
from benchmarks.machines import Legend
from benchmarks.markdown import ratio

EXPLANATION = """\
Second-order MAML, 5 inner steps, 5-way with 15 queries a class: a batch of episodes in
one call against a loop over them, times as a ratio (above 1: the call is faster). The
gradients' largest difference is of float64, where rounding hides nothing."""


def replay_tables(records: Sequence[Mapping[str, Any]], legend: Legend) -> list[str]:
    """Lines for the results page, from every record of kind "replay"."""
    columns = ["backbone", "episodes", "shots", "speed-up", "difference", "n", "machine", "command"]
    rows = [
        [
            record["backbone"],
            str(record["episodes"]),
            str(case["n_shot"]),
            ratio(case["speed_up"], case["speed_up_95"]),
            f"{case['largest_difference']:.0e} of {case['largest_gradient']:.1f}",
            str(record["rounds"]),
            legend.of_run(record),
            "`python -m benchmarks.replay`",
        ]
        for record in records
        for case in record["cases"]
    ]
    return [EXPLANATION, "", *markdown.table(columns, rows)]
