"""Results as the rows of tables: one for each result, waypoint, split and protocol."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.intervals import Summary, summarise
from benchmarks.results import Accuracy, Result

WAYPOINT_TITLES: Mapping[str, str] = {
    "untrained": "",
    "last": ", last",
    "selected": ", selected on validation",
}
PLOTTED = ("main", "build_time")
"""Tables whose rows are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table."""

    result: Result
    waypoint: str
    split: str
    protocol: str
    by_shots: Mapping[int, Mapping[int, Accuracy]]
    """Number of shots -> seed -> accuracy."""

    @property
    def title(self) -> str:
        """What the row is called."""
        return self.result.heading["title"] + WAYPOINT_TITLES[self.waypoint]

    @property
    def table(self) -> str:
        """Which table it stands in."""
        return self.result.heading["table"]

    @property
    def dataset(self) -> str:
        """Which images it was measured on."""
        return str(self.result.settings["dataset"])

    @property
    def trained(self) -> bool:
        """Whether it was meta-trained, so that its seeds are builds."""
        return self.waypoint != "untrained"

    @property
    def command(self) -> str:
        """What makes it."""
        return command_of(self.result)

    def summary(self, n_shot: int) -> Summary | None:
        """Mean over seeds; None if that number of shots was not asked."""
        by_seed = self.by_shots.get(n_shot)
        return summarise(by_seed) if by_seed else None

    def build_s(self) -> float:
        """Mean seconds of its builds: the processor's, or by the clock where a GPU computed."""
        clock = "cpu_s" if self.result.settings["device"] == "cpu" else "wall_s"
        seconds = [run.facts["build"][clock] for run in self.result.runs]
        return float(sum(seconds) / len(seconds))


def command_of(result: Result) -> str:
    """The command that makes a result."""
    seeds = ",".join(str(run.seed) for run in result.runs)
    device = "" if result.settings["device"] == "cpu" else f" --device {result.settings['device']}"
    return f"python -m benchmarks.run {result.name} --seeds {seeds}{device}"


def rows_of(results: Iterable[Result]) -> list[Row]:
    """All rows, the best at the largest number of shots first, equals by title."""
    found: dict[tuple[str, str, str, str], dict[int, dict[int, Accuracy]]] = {}
    by_name = {result.name: result for result in results}
    for result in by_name.values():
        for run in result.runs:
            for figure in run.figures:
                key = (result.name, figure.waypoint, figure.split, figure.protocol)
                of_shots = found.setdefault(key, {}).setdefault(figure.n_shot, {})
                of_shots[run.seed] = figure.accuracy
    rows = [
        Row(
            result=by_name[name],
            waypoint=waypoint,
            split=split,
            protocol=protocol,
            by_shots=by_shots,
        )
        for (name, waypoint, split, protocol), by_shots in found.items()
    ]
    return sorted(rows, key=lambda row: (-best_mean(row), row.title))


def best_mean(row: Row) -> float:
    """Accuracy at the largest number of shots."""
    summary = row.summary(max(row.by_shots))
    return summary.mean if summary else 0.0


def shots_of(rows: Sequence[Row]) -> list[int]:
    """Every number of shots that some row has."""
    return sorted({n_shot for row in rows for n_shot in row.by_shots})


def plotted(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows that are drawn, by data set and split; these in order."""
    drawn = [row for row in rows if row.table in PLOTTED]
    places = sorted({(row.dataset, row.split) for row in drawn})
    return {place: [row for row in drawn if (row.dataset, row.split) == place] for place in places}
