"""The tables of records that benchmarks.growth writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import markdown
from benchmarks.machines import Legend


def growth_tables(records: Sequence[Mapping[str, Any]], legend: Legend) -> list[str]:
    """Lines for the results page, from every record of kind "growth"."""
    lines = []
    for record in records:
        databases = list(dict.fromkeys(case["database"] for case in record["cases"]))
        by_request: dict[str, dict[str, Mapping[str, Any]]] = {}
        for case in record["cases"]:
            by_request.setdefault(case["request"], {})[case["database"]] = case
        columns = ["request", "promise"]
        columns += [f"{kind}: {what}" for kind in databases for what in ("ratio", "median")]
        rows = []
        for request, cases in by_request.items():
            row = [request, next(iter(cases.values()))["promises"]]
            for kind in databases:
                case = cases[kind]
                low, high = case["ratio_95"]
                row.append(f"{case['ratio']:.2f} ({low:.2f} to {high:.2f})")
                row.append(f"{1000 * case['large_s']:.1f} ms")
            rows.append(row)
        lines += [
            f"Time of a request over a pool of {record['large']:,} model records over its time at "
            f"{record['small']:,}: ratio of medians (95 % bootstrap interval over "
            f"{record['rounds']} pairs), asked by turns over HTTP of two real servers of one "
            "process each. `flat` requests promise not to grow, `bounded` ones to look at 2,000 "
            "records at most, `counts` count records from an index. The median is of the large "
            "pool, for scale. Machine "
            f"{legend.of_run(record)}, `python -m benchmarks.growth`.",
            "",
            *markdown.table(columns, rows),
        ]
    return lines
