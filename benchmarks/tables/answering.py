"""The table of records that benchmarks.answering writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import markdown
from benchmarks.machines import Legend
from benchmarks.markdown import ratio

MIB = 1024 * 1024
EXPLANATION = """\
What answers cost that the tables above give the accuracy of: times as ratios to the one
network's, all by turns in one run (95 % t interval over rounds). A request is 5-way with 15
queries a class, answered at once; `one query` goes to a classifier that is adapted already, as the
API keeps it. Operations are those of matrix products and convolutions. Memory is what loading the
file and answering one 5-shot request add to a process."""


def answering_tables(records: Sequence[Mapping[str, Any]], legend: Legend) -> list[str]:
    """Lines for the results page, from every record of kind "answering"."""
    lines = [EXPLANATION, ""]
    for record in records:
        requests = list(record["subjects"][0]["requests"])
        columns = ["what answers", *(f"{each}, ratio" for each in requests)]
        columns += ["MFLOP a query", "file, MiB", "memory, MiB", "machine"]
        rows = [[*_cells(each, requests), legend.of_run(record)] for each in record["subjects"]]
        lines += [f"`{_command(record)}`, n = {record['rounds']} rounds:", ""]
        lines += markdown.table(columns, rows)
    return lines


def _cells(subject: Mapping[str, Any], requests: Sequence[str]) -> list[str]:
    return [
        subject["name"],
        *(
            ratio(subject["requests"][each]["ratio"], subject["requests"][each]["ratio_95"])
            for each in requests
        ),
        f"{subject['operations_per_query'] / 1e6:.1f}",
        f"{subject['file_bytes'] / MIB:.1f}",
        f"{subject['memory_bytes'] / MIB:.0f}",
    ]


def _command(record: Mapping[str, Any]) -> str:
    name, sizes = record["pool"]["name"], f"--asked {record['asked']} --rounds {record['rounds']}"
    return f"python -m benchmarks.answering --pool POOL --pool-name {name} {sizes}"
