"""Order a meta-learner and watch it grow."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from modelpool.cli.connection import connect
from modelpool.cli.exits import Exit
from modelpool.cli.folders import labelled_images
from modelpool.cli.output import Json, Mode, duration, err, hint, note, plain, print_json, say
from modelpool.cli.report import print_report
from modelpool.client import Client
from modelpool.errors import UnusableFile
from modelpool.events import Event
from modelpool.flows import FINAL_BUILDS
from modelpool.records import Build

LINE_EVERY_S = 10.0
"""Where no bar can be drawn, a line of progress so often."""
MOST_METRICS = 3


def build(
    pool: Annotated[str, typer.Option("--pool", "-p", help="Over which pool.")] = "default",
    algorithm: Annotated[
        str | None, typer.Option("--algorithm", "-a", help="Such as multi_teacher, ensemble, free.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A named set of numbers, such as small or tiny.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="One of the recipe's numbers: --set steps=2000. Repeatable."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="Only over these models (ids). Repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed and models, same result.")] = None,
    validation: Annotated[
        Path | None,
        typer.Option(help="folder/<class>/*.jpg: the report is made on these; they are not kept."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it ends.")] = False,
    as_json: Json = False,
) -> None:
    """Order a meta-learner over a pool's models."""
    config = _config(settings or (), preset)
    images = labelled_images(validation) if validation is not None else ()
    with connect(patient=True) as client:
        order = client.start_build(
            pool,
            algorithm=algorithm,
            config=config,
            models=models,
            seed=seed,
            validation=[(each.label, each.path.read_bytes()) for each in images],
        )
        if not watch:
            if as_json:
                print_json(order)
                return
            say(f"Ordered {order['id']} over {order['n_models']:,} models of pool {order['pool']}.")
            hint(f"modelpool builds watch {order['id']}")
            return
        describe_end(client, watch_build(client, order), as_json=as_json)


def resume_build(
    build: Annotated[str, typer.Argument(metavar="BUILD")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it ends.")] = False,
    as_json: Json = False,
) -> None:
    """Go on with a build that was canceled or failed, as another build."""
    with connect(patient=watch) as client:
        order = client.resume_build(build)
        if watch:
            describe_end(client, watch_build(client, order), as_json=as_json)
        elif as_json:
            print_json(order)
        else:
            say(f"{order['id']} goes on where {order['resumed_from']} stopped.")
            hint(f"modelpool builds watch {order['id']}")


def _config(settings: Sequence[str], preset: str | None) -> dict[str, Any]:
    config: dict[str, Any] = {} if preset is None else {"preset": preset}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UnusableFile(f"--set takes NAME=VALUE, such as --set steps=2000, not {setting!r}")
        try:
            config[name] = json.loads(value)
        except ValueError:
            config[name] = value
    return config


def watch_build(client: Client, order: Build) -> Build:
    """Show a build's progress until it has ended; its record then.

    Ctrl-C leaves the build running and says so.
    """
    if order["status"] in FINAL_BUILDS:
        return order
    note(f"Build {order['id']}: {order['recipe']['algorithm']}, {order['n_models']:,} models.")
    display = _display()
    try:
        with display:
            for event in client.follow_build(order["id"]):
                display.show(event)
        return client.wait_for_build(order["id"])
    except KeyboardInterrupt:
        note("The build goes on without you.", "")
        note(f"Come back:  modelpool builds watch {order['id']}", "")
        note(f"Or stop it: modelpool builds cancel {order['id']}", "")
        raise typer.Exit(Exit.INTERRUPTED) from None


def describe_end(client: Client, ended: Build, *, as_json: bool) -> None:
    """What a build delivered, or why it did not.

    Raises:
        typer.Exit: it delivered nothing.
    """
    if as_json:
        print_json(ended)
    elif ended["status"] == "succeeded" and ended["meta_learner_id"] is not None:
        learner = client.learner(ended["meta_learner_id"])
        say(f"Built {learner['id']} ({learner['backbone']}, {learner['image_size']} px).")
        print_report(learner["report"])
        hint("modelpool predict latest --support folder/ --query images/")
    else:
        console = err()
        how = "was canceled" if ended["status"] == "canceled" else plain(ended["status"])
        console.print(f"The build {how}.", style="bold red")
        if ended["error"]:
            console.print(plain(ended["error"]))
    if ended["status"] != "succeeded":
        raise typer.Exit(Exit.BAD_END)


def losses(progress: Mapping[str, Any]) -> str:
    """An event's metrics, as they are called."""
    metrics = list((progress.get("metrics") or {}).items())[:MOST_METRICS]
    return " · ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics)


def left(progress: Mapping[str, Any]) -> str:
    """An event's ETA."""
    eta_s = progress.get("eta_s")
    return "" if eta_s is None else f"{duration(eta_s)} left"


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, event: Event) -> None:
        """Take note of an event."""


class Lines(Quiet):
    """A line of text now and then: for files and pipes."""

    def __init__(self) -> None:
        self._stage: object = None
        self._told_s = 0.0

    def show(self, event: Event) -> None:
        """Tell a new stage at once, and the rest every few seconds."""
        if event.kind == "log":
            note(str(event.data.get("message")))
        if event.kind != "progress":
            return
        now_s, stage = time.monotonic(), event.data.get("stage")
        if stage == self._stage and now_s - self._told_s < LINE_EVERY_S:
            return
        self._stage, self._told_s = stage, now_s
        done = float(event.data.get("fraction") or 0.0)
        rest = " · ".join(part for part in (left(event.data), losses(event.data)) if part)
        note(f"{done:4.0%} {stage}: {rest}")


class _TwoLines(Progress):
    """A bar, and the losses in a line under it."""

    losses = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """What rich draws."""
        yield from super().get_renderables()
        yield Text(self.losses or " ", style="cyan", no_wrap=True, overflow="ellipsis")


class Live(Quiet):
    """A bar with the stage and the time left, and the losses under it."""

    def __init__(self) -> None:
        self._bar = _TwoLines(
            TextColumn("{task.percentage:>3.0f} %"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[stage]}", markup=False),
            TextColumn("{task.fields[left]}", markup=False, style="bold"),
            console=err(),
            transient=True,
        )
        self._task: TaskID = self._bar.add_task("", total=1.0, stage="waiting", left="")

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Move on."""
        if event.kind == "progress":
            self._bar.losses = plain(losses(event.data))
            self._bar.update(
                self._task,
                completed=float(event.data.get("fraction") or 0.0),
                stage=plain(event.data.get("stage") or ""),
                left=left(event.data),
            )
        elif event.kind == "log":
            self._bar.console.print(plain(event.data.get("message") or ""), style="dim")
        elif event.kind == "status":
            self._bar.update(self._task, stage=plain(event.data.get("status") or ""), left="")


def _display() -> Quiet:
    if Mode.json:
        return Quiet()
    return Live() if err().is_terminal else Lines()
