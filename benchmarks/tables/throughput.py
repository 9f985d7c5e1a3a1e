"""The tables of records that benchmarks.throughput writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import markdown
from benchmarks.machines import Legend
from benchmarks.markdown import ratio

MIB = 1024 * 1024
EXPLANATION = """\
Recovered tasks per second at the published settings (width 64, 100 images, 5 steps), as
a ratio to one teacher at a time in float32, all side by side in one run. Operations are
those of matrix products and convolutions, bytes what every operation reads and writes
as if each went to memory; `roof` is the share of the time that the machine's best
rates, measured in the same run, would need for the larger of the two (above 100 %:
caches served part of the bytes)."""


def throughput_tables(records: Sequence[Mapping[str, Any]], legend: Legend) -> list[str]:
    """Lines for the results page, from every record of kind "throughput"."""
    columns = [
        *("recovery", "format", "tasks/s, ratio", "memory, MiB", "GFLOP per task"),
        *("GB per task", "achieved GFLOP/s", "roof, %", "machine"),
    ]
    lines = [EXPLANATION, ""]
    for record in records:
        rows = [[*_way(way), legend.of_run(record)] for way in record["ways"]]
        lines += [f"`{_command(record)}`, n = {record['rounds']} rounds:", ""]
        lines += markdown.table(columns, rows)
        lines += [_rates(record["rates"]), ""]
    return lines


def _way(way: Mapping[str, Any]) -> list[str]:
    seconds = way["seconds_per_task"]
    return [
        way["name"],
        way["precision"],
        ratio(way["speed_up"], way["speed_up_95"]),
        f"{way['memory_bytes'] / MIB:.0f}",
        f"{way['operations_per_task'] / 1e9:.0f}",
        f"{way['bytes_per_task'] / 1e9:.1f}",
        f"{way['operations_per_task'] / seconds / 1e9:.0f}",
        f"{100 * way['least_seconds_per_task'] / seconds:.0f}",
    ]


def _rates(rates: Mapping[str, Mapping[str, float]]) -> str:
    parts = [
        f"{each['operations_per_s'] / 1e9:.0f} GFLOP/s in {name}" for name, each in rates.items()
    ]
    copied = max(each["bytes_per_s"] for each in rates.values())
    return f"Best rates: {', '.join(parts)}, {copied / 1e9:.1f} GB/s read and written."


def _command(record: Mapping[str, Any]) -> str:
    return f"python -m benchmarks.throughput --pool POOL --pool-name {record['pool']['name']}"
