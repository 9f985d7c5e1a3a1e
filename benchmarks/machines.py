"""Letters for the machines that figures were measured on, and their legend."""

from collections.abc import Iterable, Mapping
from string import ascii_uppercase
from typing import Any

from benchmarks.results import Result


def describe(machine: Mapping[str, Any]) -> str:
    """A machine in one line."""
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads used{gpu}, "
        f"{machine['system']}, torch {machine['torch']}, Python {machine['python']}"
    )


class Legend:
    """Which letter stands for which machine; the same for the same results."""

    def __init__(self, results: Iterable[Result], others: Iterable[Mapping[str, Any]] = ()) -> None:
        """Give a letter to each machine, in the order of their descriptions.

        Args:
            results: whose runs have machines.
            others: records of other kinds, each with a machine.
        """
        described = {describe(run.facts["machine"]) for each in results for run in each.runs}
        described |= {describe(record["machine"]) for record in others}
        self._letters = {text: _letters(n) for n, text in enumerate(sorted(described))}

    def of_run(self, facts: Mapping[str, Any]) -> str:
        """The letter of a run's machine."""
        return self._letters[describe(facts["machine"])]

    def of(self, result: Result) -> str:
        """The letters of a result's machines."""
        return ", ".join(sorted({self.of_run(run.facts) for run in result.runs}))

    def lines(self) -> list[str]:
        """The legend."""
        return [f"- {letter}: {text}" for text, letter in self._letters.items()]


def _letters(number: int) -> str:
    """A to Z, then A1 to Z1 and so on."""
    turn, place = divmod(number, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn) if turn else "")
