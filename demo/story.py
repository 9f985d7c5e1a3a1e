"""The demo's voice: numbered steps with their seconds, progress bars, plain text off a terminal."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Protocol

from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 120
PLAIN_EVERY, PLAIN_LEAST_S, PLAIN_MOST_S = 0.1, 3.0, 15.0
"""Off a terminal a line is printed each time so much more is done; not more and not less often than
after so many seconds."""


class Bar(Protocol):
    """Something that shows how far a step is."""

    def update(self, fraction: float, note: str = "") -> None:
        """Show the share that is done, 0 to 1, and a word on what is being done."""


class PlainBar:
    """A line of text now and then, for logs and pipes."""

    def __init__(self, console: Console, what: str) -> None:
        self._console, self._what = console, what
        self._next, self._told_at = PLAIN_EVERY, time.monotonic()

    def update(self, fraction: float, note: str = "") -> None:
        """Print a line if a tenth is full, the last line is old, or all is done."""
        silent_s = time.monotonic() - self._told_at
        if fraction < 1 and silent_s < (PLAIN_LEAST_S if fraction >= self._next else PLAIN_MOST_S):
            return
        self._next, self._told_at = fraction + PLAIN_EVERY, time.monotonic()
        line = f"      {self._what} {fraction:4.0%}  {note}".rstrip()
        self._console.print(line, markup=False, soft_wrap=True)


class TwoLines(Progress):
    """A bar, and below it a line on what is being done, cut to the terminal's width."""

    note = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn anew several times a second."""
        yield from super().get_renderables()
        yield Text(f"      {self.note}", style="dim", no_wrap=True, overflow="ellipsis")


class RichBar:
    """A moving bar."""

    def __init__(self, progress: TwoLines, what: str) -> None:
        self._progress = progress
        self._id = progress.add_task(what, total=1.0)

    def update(self, fraction: float, note: str = "") -> None:
        """Move the bar."""
        self._progress.note = note
        self._progress.update(self._id, completed=fraction)


class Story:
    """Tells what happens, step by step."""

    def __init__(self, *, n_steps: int, file: IO[str] | None = None) -> None:
        console = Console(file=file, highlight=False)
        if not console.is_terminal:
            console = Console(file=file, highlight=False, width=PLAIN_WIDTH)
        self._console = console
        self._n_steps, self._step = n_steps, 0
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Since the story began."""
        return time.monotonic() - self._started

    def say(self, text: str = "", *, indent: int = 6) -> None:
        """One paragraph, unwrapped so that commands can be copied from it."""
        for line in text.split("\n"):
            self._console.print(" " * indent + line, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A numbered step; its seconds are told when it ends."""
        self._step += 1
        started = time.monotonic()
        self._console.print(f"\n[bold]\\[{self._step}/{self._n_steps}] {escape(title)}[/bold]")
        yield
        self._console.print(f"      [dim]{time.monotonic() - started:.1f} s[/dim]")

    @contextmanager
    def bar(self, what: str) -> Iterator[Bar]:
        """Progress of something that takes a while."""
        if not self._console.is_terminal:
            yield PlainBar(self._console, what)
            return
        columns = (
            TextColumn("      {task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        with TwoLines(*columns, console=self._console) as progress:
            yield RichBar(progress, what)

    def table(self, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
        """Rows by their first column; numbers to the right."""
        table = Table(box=box.ASCII2 if self._console.encoding == "ascii" else box.SIMPLE_HEAD)
        for position, column in enumerate(columns):
            table.add_column(column, justify="right" if position else "left", no_wrap=True)
        for name, cells in rows.items():
            table.add_row(escape(name), *map(escape, cells))
        self._console.print(table)
