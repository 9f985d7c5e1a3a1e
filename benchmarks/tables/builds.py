"""What each run cost, and how the choice among waypoints went."""

from collections.abc import Sequence

from benchmarks import markdown
from benchmarks.machines import Legend
from benchmarks.results import Result, Run

MIB = 1024 * 1024
SHORT = 7  # digits of a commit


def run_table(results: Sequence[Result], legend: Legend) -> list[str]:
    """One line per result and seed: code, seconds, memory, and for builds tasks and ETA."""
    columns = [
        *("recipe", "seed", "machine", "code", "build wall / CPU, s", "evaluation wall, s"),
        *("peak memory, MiB", "recovered tasks", "worst ETA error, wall / CPU"),
    ]
    return markdown.table(
        columns, [_line(result, run, legend) for result in results for run in result.runs]
    )


def _line(result: Result, run: Run, legend: Legend) -> list[str]:
    facts = run.facts
    trace = facts.get("trace", {})
    errors = [trace.get(name) for name in ("worst_eta_error", "worst_eta_error_cpu")]
    return [
        f"`{result.name}`",
        str(run.seed),
        legend.of_run(facts),
        code_of(run),
        f"{facts['build']['wall_s']:.1f} / {facts['build']['cpu_s']:.1f}",
        f"{facts['evaluation']['wall_s']:.1f}",
        f"{facts['memory']['peak_resident_bytes'] / MIB:.0f}",
        str(trace.get("recovered_tasks", "-")),
        " / ".join("-" if error is None else f"{100 * error:.0f} %" for error in errors),
    ]


def code_of(run: Run) -> str:
    """The commit's first digits, with a + where the tree had other changes."""
    commit = run.facts["code"]["commit"]
    if commit is None:
        return "unknown"
    return f"`{commit[:SHORT]}`" + (" +" if run.facts["code"]["dirty"] else "")


def selection_table(results: Sequence[Result]) -> list[str]:
    """The best validation value along each run, named as the optimistic figure it is."""
    body = []
    for result in results:
        for run in result.runs:
            selection = run.facts.get("selection")
            if selection is None:
                continue
            peak = selection["peak"]
            body.append(
                [
                    f"`{result.name}`",
                    str(run.seed),
                    str(len(selection["curve"])),
                    str(selection["step"]),
                    f"{markdown.percent(peak['mean'])} ± {markdown.percent(peak['half_width_95'])}",
                    f"{selection['n_shot']}-shot, `{selection['protocol']}`, n = {peak['n']}",
                ]
            )
    columns = ["recipe", "seed", "waypoints", "selected step"]
    columns += ["peak on validation, optimistic, %", "judged on"]
    return markdown.table(columns, body) if body else []
