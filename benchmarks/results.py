"""What a recipe's measurement leaves behind: one JSON file, rewritten after each seed.

A file holds no per-episode figure, no image, no path and no host name.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.data import BenchmarkError

RESULTS = Path(__file__).resolve().parent / "results"
KIND = "accuracy"
DIGITS = 6  # of a fraction or of seconds: far below any interval, and diffs stay readable


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Mean accuracy over episodes, as fractions."""

    mean: float
    std: float
    """Standard deviation over episodes."""
    half_width_95: float
    """1.96 std / sqrt(n)."""
    n: int
    """Episodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One accuracy of a run, and what it is of."""

    waypoint: str
    """`untrained` (nothing was meta-trained), `last` (the final learner) or `selected` (the best
    on validation among the waypoints and the last)."""
    split: str
    protocol: str
    n_shot: int
    accuracy: Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A recipe with one seed."""

    seed: int
    figures: tuple[Figure, ...]
    facts: Mapping[str, Any]
    """Machine, code, seconds, memory; `trace`, `selection` and others where there are such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A recipe's runs."""

    name: str
    heading: Mapping[str, str]
    """Title, table, base, note: words, on which no figure depends."""
    settings: Mapping[str, Any]
    """All that the figures depend on besides seed, machine and code."""
    runs: tuple[Run, ...] = field(default=())

    @property
    def smoke(self) -> bool:
        """Whether this is a trial of the program and no measurement."""
        return bool(self.settings["smoke"])


def read_result(path: Path) -> Result:
    """A result from its file.

    Raises:
        BenchmarkError: if it is no result of this form.
    """
    try:
        return _result_of(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(
            f"{path} is no result of this program ({error}): remove it and run its recipe again."
        ) from error


def read_records(directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Every JSON record in a directory, by name; `kind` says which program wrote it.

    Raises:
        BenchmarkError: if a file is no JSON object with a kind.
    """
    found = []
    for path in sorted(directory.glob("*.json")):
        try:
            record = json.loads(path.read_text())
        except ValueError as error:
            raise BenchmarkError(f"{path} is no JSON: {error}. Remove or remake it.") from error
        if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
            raise BenchmarkError(f"{path} does not say its `kind`: remove or remake it.")
        found.append((path, record))
    return found


def write_result(path: Path, result: Result) -> None:
    """Write a result so that a reader sees the old file or the new one, never half of either."""
    write_record(path, KIND, asdict(result))


def write_record(path: Path, kind: str, record: Mapping[str, Any]) -> None:
    """The same for a record of any kind."""
    part = path.with_suffix(".json.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w") as file:
        file.write(
            json.dumps(_rounded({"kind": kind, **record}), indent=1, ensure_ascii=False) + "\n"
        )
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def plain(value: object) -> Any:
    """A value as it comes back from JSON, for comparing with one that did."""
    return json.loads(json.dumps(_rounded(value)))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value


def _result_of(record: Mapping[str, Any]) -> Result:
    runs = []
    for run in record["runs"]:
        figures = tuple(
            Figure(**{**figure, "accuracy": Accuracy(**figure["accuracy"])})
            for figure in run["figures"]
        )
        runs.append(Run(seed=run["seed"], figures=figures, facts=run["facts"]))
    return Result(
        name=record["name"],
        heading=record["heading"],
        settings=record["settings"],
        runs=tuple(runs),
    )
