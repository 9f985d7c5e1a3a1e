"""Rows beside the row they change one thing of: the difference, with its intervals."""

from collections.abc import Sequence

from benchmarks import markdown
from benchmarks.intervals import difference
from benchmarks.machines import Legend
from benchmarks.recipe import PROTOCOLS, SPLITS
from benchmarks.rows import Row, shots_of
from benchmarks.tables.accuracy import cells_of, origin_of, title_of

Place = tuple[str, str, str, str]
"""Data set, split, protocol, waypoint: what two rows must share to be compared."""


def place_of(row: Row) -> Place:
    """Where a row stands."""
    return (row.dataset, row.split, row.protocol, row.waypoint)


def switch_tables(rows: Sequence[Row], every: Sequence[Row], legend: Legend) -> list[str]:
    """One table per place; a base that stands in another table is shown here, too.

    Args:
        rows: of one table.
        every: all rows there are, among which the bases are looked for.
        legend: of machines.
    """
    lines: list[str] = []
    bases = {(row.result.name, place_of(row)): row for row in every}
    for place in sorted({place_of(row) for row in rows}, key=_order):
        dataset, split, protocol, waypoint = place
        here = [row for row in rows if place_of(row) == place]
        compared = {row.result.heading["base"] for row in here} - {r.result.name for r in here}
        here += [row for (name, at), row in bases.items() if name in compared and at == place]
        lines += [f"**{title_of(dataset)}, {split} classes, `{protocol}`, {waypoint}**", ""]
        lines += switch_table(here, {n: row for (n, p), row in bases.items() if p == place}, legend)
    return lines


def _order(place: Place) -> tuple[str, int, int, str]:
    dataset, split, protocol, waypoint = place
    return (dataset, SPLITS.index(split), list(PROTOCOLS).index(protocol), waypoint)


def switch_table(rows: Sequence[Row], bases: dict[str, Row], legend: Legend) -> list[str]:
    """Bases first, then each row with its difference from its base, in percentage points."""
    shots = shots_of(rows)
    ordered = sorted(rows, key=lambda row: (bool(row.result.heading["base"]), row.result.name))
    columns = [""]
    for n_shot in shots:
        columns += [f"{n_shot}-shot, %", "difference"]
    body = []
    for row in ordered:
        cells: list[str] = []
        for n_shot, cell in zip(shots, cells_of(row, shots), strict=True):
            cells += [cell, difference_cell(row, bases, n_shot)]
        body.append([row.title, *cells, f"{row.build_s():.0f}", *origin_of(row, legend)])
    return markdown.table([*columns, "build, s", "seeds", "n", "machine", "command"], body)


def difference_cell(row: Row, bases: dict[str, Row], n_shot: int) -> str:
    """Difference from the base; says so where there is no base, or it was not measured."""
    name = row.result.heading["base"]
    if not name:
        return "base"
    base = bases.get(name)
    if base is None:
        return f"`{name}` not measured"
    gap = difference(row.by_shots.get(n_shot, {}), base.by_shots.get(n_shot, {}))
    return markdown.signed(gap, trained=row.trained) if gap else "no seed in common"
