"""What people and programs read: tables, lines and JSON on stdout, everything else on stderr."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelpool.errors import ModelpoolError, Refused

UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
WIDE = 240
"""Columns of output that no terminal shows: nothing is cut."""
SHORT = 24
"""Characters of an id."""
STYLES = {
    **dict.fromkeys(("ready", "succeeded", "active"), "green"),
    **dict.fromkeys(("rejected", "failed", "retired"), "red"),
    **dict.fromkeys(("received", "inspecting", "queued", "running"), "cyan"),
    **dict.fromkeys(("withdrawn", "canceled", "tainted"), "yellow"),
}


class Mode:
    """How this run of the command talks."""

    json = False


def _set_json(value: bool) -> bool:
    Mode.json = Mode.json or value
    return value


Json = Annotated[
    bool,
    typer.Option("--json", help="Print JSON, for programs.", callback=_set_json, is_eager=True),
]


def out() -> Console:
    """Results."""
    width = None if sys.stdout.isatty() else WIDE
    return Console(width=width, highlight=False, markup=False, emoji=False)


@cache
def err() -> Console:
    """Progress, hints, errors; one for all, so that lines do not run through bars."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=False)


def plain(text: object) -> str:
    """Text of others, without what would steer a terminal."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text))


def say(text: str = "") -> None:
    """A line of the result."""
    out().print(plain(text), soft_wrap=not sys.stdout.isatty())


def note(text: str, style: str = "dim") -> None:
    """A line beside the result; programs that asked for JSON are spared."""
    if not Mode.json:
        err().print(Text(plain(text), style=style))


def hint(command: str) -> None:
    """The next step, in one piece, so that it can be copied."""
    if not Mode.json:
        err().print(Text(plain(f"Next: {command}"), style="dim"), soft_wrap=True)


def print_json(value: Any) -> None:
    """The one document of a run with --json."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headings; long texts are folded, ids and numbers never."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numbers = bool(rows) and all(_is_number(row[index]) for row in rows)
        short = all(len(str(row[index])) <= SHORT for row in rows)
        table.add_column(
            name, no_wrap=short, overflow="fold", justify="right" if numbers else "left"
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    out().print(table)


def print_fields(pairs: Sequence[tuple[str, object]]) -> None:
    """One record: a name and a value a line; those without a value are left out."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], {}):
            table.add_row(name, _cell(value))
    out().print(table)


def _cell(value: object) -> Text:
    text = "" if value is None else plain(value)
    return Text(text, style=STYLES.get(text, ""))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or bool(re.fullmatch(r"[\d.,]+ ?%?", str(value)))


def show_error(error: ModelpoolError, code: int) -> None:
    """What went wrong and what to do, or the same as JSON on stderr."""
    if Mode.json:
        problem = error.as_json() if isinstance(error, Refused) else {"detail": str(error)}
        kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
        problem = {"code": kind, **problem, "exit_code": code}
        sys.stderr.write(json.dumps({"error": problem}, ensure_ascii=False) + "\n")
        return
    console = err()
    if not isinstance(error, Refused):
        console.print(Text.assemble(("Error: ", "bold red"), plain(error)))
        return
    title = plain(error.title or "Refused")
    console.print(Text.assemble(("Refused: ", "bold red"), (title, "bold")))
    console.print(Text(plain(error.detail)))
    for fault in error.faults:
        line = f"  {fault.get('part', '')}: {fault.get('detail', '')}"
        if str(fault.get("detail")) not in error.detail:
            console.print(Text(plain(line)))
    if error.retry_after_s:
        console.print(Text(f"It can work again in {duration(error.retry_after_s)}."))
    where = f", request {error.request_id}" if error.request_id else ""
    console.print(Text(plain(f"({error.code}{where})"), style="dim"))


@contextmanager
def busy(text: str) -> Iterator[None]:
    """A spinner while something of unknown length goes on."""
    console = err()
    if Mode.json or not console.is_terminal:
        yield
        return
    with console.status(Text(plain(text))):
        yield


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 class`, `2 classes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float | None) -> str:
    """Two units at most: `4 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(n_bytes: int | None) -> str:
    """Binary units with one digit."""
    if n_bytes is None:
        return ""
    value = float(n_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def moment(text: str | None) -> str:
    """A time of the server on the clock of this machine."""
    if not text:
        return ""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone().strftime("%F %H:%M")
    except ValueError:
        return text
