"""The tables of records that benchmarks.load writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import markdown
from benchmarks.machines import Legend

CLIENT_BUSY, SERVER_BUSY = 0.8, 0.9
"""Cores that the clients used, and that the server wanted, beyond which they are the limit."""
WAITING = "one answer's way"
QUANTILES = ("p50", "p95", "p99")


def load_tables(records: Sequence[Mapping[str, Any]], legend: Legend) -> list[str]:
    """Lines for the results page, from every record of kind "load"."""
    lines = []
    for record in records:
        columns = ["request", "clients", "answers a second", "ratio"]
        columns += [f"{each} ratio" for each in QUANTILES]
        columns += ["p50", "p99", "processor an answer (nothing's)", "cores used (wanted)", "limit"]
        lines += [
            f"The real server over {record['records']:,} model records ({record['database']}, one "
            "process) beside the same FastAPI and uvicorn answering a constant, both under as many "
            f"keep-alive clients; medians of {record['rounds']} stretches of {record['seconds']:g} "
            "s each, by turns, ratios to doing nothing with 95 % bootstrap intervals. Wanted is "
            "what the server's threads used and what they waited in the run queue for, each "
            f"other's turns included; `{WAITING}` stands where they wanted less than most of a "
            "core. A process computes on about one core at a time, so more replicas answer more. "
            "The machine had other work: only ratios say much. Machine "
            f"{legend.of_run(record)}, `python -m benchmarks.load`.",
            "",
            *markdown.table(columns, [_row(case) for case in record["cases"]]),
        ]
    return lines


def limit_of(case: Mapping[str, Any]) -> str:
    """What was used up: the clients' process would make the figure worthless."""
    if case["client_cpu"] > CLIENT_BUSY:
        return "the clients"
    if case["server_wanted"] > SERVER_BUSY:
        return "the server's processor time"
    return WAITING


def _row(case: Mapping[str, Any]) -> list[str]:
    return [
        case["request"],
        str(case["clients"]),
        f"{case['per_s']:.0f}",
        _ratio(case, "per_s"),
        *(_ratio(case, each) for each in QUANTILES),
        *(f"{1000 * case[f'{each}_s']:.0f} ms" for each in ("p50", "p99")),
        f"{case['cpu_ms']:.2g} ms ({case['nothing_cpu_ms']:.2g} ms)",
        f"{case['server_cpu']:.2f} ({case['server_wanted']:.2f})",
        limit_of(case),
    ]


def _ratio(case: Mapping[str, Any], of: str) -> str:
    low, high = case[f"{of}_ratio_95"]
    return f"{case[f'{of}_ratio']:.2g} ({low:.2g} to {high:.2g})"
