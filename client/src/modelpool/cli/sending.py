"""One checkpoint on its way: converted, resumed, with rate and time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from modelpool.cli.output import Mode, err, moment, note, plain
from modelpool.client import Client
from modelpool.convert import NotConverted, to_safetensors
from modelpool.flows import Watcher, checkpoint_at
from modelpool.records import Manifest, Upload
from modelpool.unfinished import Unfinished


@dataclass(frozen=True)
class Prepared:
    """The file that is sent for the one that was named."""

    path: Path
    converted: bool


@contextmanager
def prepared(path: Path, *, as_is: bool) -> Iterator[Prepared]:
    """The file as safetensors where that is possible here, as it is elsewhere."""
    if as_is or path.suffix == ".safetensors":
        yield Prepared(path=path, converted=False)
        return
    with TemporaryDirectory(prefix="modelpool-") as directory:
        try:
            converted = to_safetensors(path, Path(directory))
        except NotConverted as why:
            note(f"Sending {path.name} as it is: {why}. The server reads it without running it.")
            yield Prepared(path=path, converted=False)
        else:
            note(f"Converted {path.name} to safetensors here: only its weights are sent.")
            yield Prepared(path=converted, converted=True)


def send(client: Client, path: Path, manifest: Manifest, *, label: str) -> str:
    """Send a file with a bar; the model's id, not inspected yet.

    Interrupted, what was sent stays, and the same call goes on with it.
    """
    with _bar("Reading", path.stat().st_size) as bar:
        checkpoint = checkpoint_at(path, on_read=bar.moved)
    unfinished = Unfinished(client.login.url, checkpoint, manifest)
    begun: list[Upload] = []

    def on_begun(upload: Upload) -> None:
        begun.append(upload)
        if upload["status"] == "open":
            unfinished.keep(upload)

    earlier = unfinished.upload_id
    try:
        with _bar(label, checkpoint.size_bytes) as bar:
            watcher = Watcher(on_begun=on_begun, on_sent=_resuming(bar.moved))
            model_id = client.send(checkpoint, manifest, upload_id=earlier, watcher=watcher)
    except KeyboardInterrupt:
        if begun:
            until = moment(begun[0]["expires_at"])
            note(f"What was sent stays until {until}. Run the same again to go on.", "")
        raise
    unfinished.forget()
    return model_id


def _resuming(moved: Callable[[int], None]) -> Callable[[int], None]:
    """The same, and once a word where an earlier push is gone on with."""
    told = False

    def first_told(sent: int) -> None:
        nonlocal told
        if not told and sent:
            note(f"Going on after {sent:,} bytes that were sent before.")
        told = True
        moved(sent)

    return first_told


class _Bar:
    """Shows nothing."""

    def moved(self, n_bytes: int) -> None:
        """So many bytes are done."""


class _Drawn(_Bar):
    """The same, drawn."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def moved(self, n_bytes: int) -> None:
        """Rate and time left count from the first call."""
        self._progress.update(self._task, completed=n_bytes)


@contextmanager
def _bar(label: str, n_bytes: int) -> Iterator[_Bar]:
    console = err()
    if Mode.json or not console.is_terminal:
        yield _Bar()
        return
    columns: list[Any] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    ]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(plain(label), total=n_bytes)
        yield _Drawn(progress, task)
