"""The tables of records that benchmarks.recovery writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import markdown
from benchmarks.machines import Legend
from benchmarks.markdown import ratio

EXPLANATION = """\
Seconds until images are good in the eyes of a teacher that the meta-generator never
saw, a new generator's over the meta-generator's, teacher by teacher in one run
(geometric mean, 95 % t interval over teachers). Steps are medians; seconds of choosing
latents count."""


def recovery_tables(records: Sequence[Mapping[str, Any]], legend: Legend) -> list[str]:
    """Lines for the results page, from every record of kind "recovery"."""
    rows = [line for record in records for line in _criteria(record, legend)]
    columns = ["criterion", "against", "speed-up", "steps", "met on", "machine", "command"]
    lines = [EXPLANATION, "", *markdown.table(columns, rows)]
    for record in records:
        lines += [f"Means over teachers by number of steps, `{_command(record)}`:", ""]
        lines += markdown.table(
            ["start", "steps", "seconds", "recognised, %", "cross-entropy", "BatchNorm gap"],
            _curves(record),
        )
    return lines


def _criteria(record: Mapping[str, Any], legend: Legend) -> list[list[str]]:
    lines = []
    for each in record["criteria"]:
        (ours, theirs), (our_steps, their_steps) = (
            tuple(each[name].values()) for name in ("met", "steps")
        )
        total = each["teachers"]
        lines.append(
            [
                each["criterion"],
                each["baseline"],
                ratio(each["speed_up"], each["speed_up_95"]),
                f"{_number(our_steps)} / {_number(their_steps)}",
                f"{ours} / {theirs} of {total}",
                legend.of_run(record),
                f"`{_command(record)}`",
            ]
        )
    return lines


def _curves(record: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            f"{point['steps']:.0f}",
            f"{point['seconds']:.2f}",
            markdown.percent(point["accuracy"]),
            f"{point['cross_entropy']:.3f}",
            f"{point['gap']:.2f}",
        ]
        for name, curve in record["curves"].items()
        for point in curve
    ]


def _command(record: Mapping[str, Any]) -> str:
    changes = "".join(f" --set {name}={value}" for name, value in record["settings"].items())
    return (
        f"python -m benchmarks.recovery --pool POOL --pool-name {record['pool']['name']} "
        f"--preset {record['preset']}{changes} --outer-steps {record['outer_steps']} "
        f"--held-out {record['teachers_held_out']} --seed {record['seed']}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
