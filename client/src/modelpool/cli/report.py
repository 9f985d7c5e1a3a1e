"""A meta-learner's report as a table: it, the trivial ways beside it, and what to know."""

from collections.abc import Mapping
from typing import Any

from modelpool.cli.output import note, print_table, say


def print_report(report: Mapping[str, Any]) -> None:
    """Accuracy by shots, if it was estimated; an unknown report prints nothing."""
    estimate = report.get("estimate")
    if isinstance(estimate, Mapping):
        shots = list(estimate.get("shots", {}))
        rows = [("this meta-learner", *_accuracies(estimate, shots))]
        rows += [
            (str(each.get("what") or each.get("name")), *_accuracies(each, shots))
            for each in report.get("baselines", ())
        ]
        kind = "validation images" if estimate.get("kind") == "validation" else "drawn pictures"
        heading = f"accuracy on {kind}, {estimate.get('way')}-way"
        say()
        print_table((heading, *(f"{shot}-shot" for shot in shots)), rows)
    for warning in report.get("warnings", ()):
        note(f"! {warning.get('message')}", style="yellow")


def _accuracies(entry: Mapping[str, Any], shots: list[str]) -> tuple[str, ...]:
    found = (entry.get("shots", {}).get(shot) for shot in shots)
    return tuple("" if each is None else f"{100 * each['accuracy']:.1f} %" for each in found)
