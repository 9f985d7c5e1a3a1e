"""Push one checkpoint: read it, ask for what it does not say, send it, wait for the verdict."""

from pathlib import Path
from typing import Annotated, Any

import typer

from modelpool.checkpoints import SUFFIXES, Facts, read_facts
from modelpool.cli.connection import connect
from modelpool.cli.exits import Exit
from modelpool.cli.output import Json, busy, count, hint, note, print_json
from modelpool.cli.questions import complete
from modelpool.cli.sending import prepared, send
from modelpool.cli.verdict import print_verdict
from modelpool.errors import UnusableFile
from modelpool.manifests import (
    as_manifest,
    class_names_of,
    manifest_beside,
    normalization_of,
    read_manifest,
    with_facts,
)
from modelpool.records import Model

AS_IS = Annotated[
    bool, typer.Option("--as-is", help="Do not convert a .pt or .pth to safetensors here.")
]


def push(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .safetensors, .pt or .pth file.")],
    backbone: Annotated[
        str | None, typer.Option("--backbone", "-b", help="Its architecture, such as conv4.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", "-c", help="cat,dog,... in the order of the outputs.")
    ] = None,
    n_classes: Annotated[
        int | None, typer.Option(help="Instead of --classes: how many, without names.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the images it was trained on, in pixels.")
    ] = None,
    channels: Annotated[int | None, typer.Option(help="1 (grey) or 3 (colour).")] = None,
    normalization: Annotated[
        str | None, typer.Option(help="imagenet, half, none, or MEAN/STD such as 0.5/0.25.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Shown to the pool.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", "-p", help="Into which pool.")] = None,
    domain: Annotated[str | None, typer.Option(help="Such as radiology.")] = None,
    description: Annotated[str | None, typer.Option(help="Shown to the pool's curators.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="A manifest; NAME.json beside NAME.pt is found by itself.")
    ] = None,
    as_is: AS_IS = False,
    as_json: Json = False,
) -> None:
    """Push a checkpoint into a pool and wait for its inspection.

    What the file says is read from it, the rest is asked for. An interrupted push goes on when
    the same command is run again.
    """
    check_file(file)
    given = {
        "backbone": backbone,
        "class_names": class_names_of(classes) if classes else None,
        "n_classes": n_classes,
        "image_size": image_size,
        "channels": channels,
        "name": name,
        "pool": pool,
        "domain": domain,
        "description": description,
    }
    with connect(patient=True) as client, prepared(file, as_is=as_is) as ready:
        facts = read_facts(ready.path)
        known = with_facts(_said(file, manifest, given), facts)
        if normalization is not None:
            known["normalization"] = normalization_of(normalization, known.get("channels") or 3)
        whole = complete(known, facts, stem=file.stem)
        _say_what_is_sent(whole, facts)
        model_id = send(client, ready.path, as_manifest(whole), label="Sending")
        with busy("Sent. Inspecting it"):
            model = client.wait_for_model(model_id)
    _end(model, converted=ready.converted, as_json=as_json)


def check_file(path: Path) -> None:
    """Return if the file may be a checkpoint.

    Raises:
        UnusableFile: it is not there, or its suffix is none of a checkpoint's.
    """
    if not path.is_file():
        raise UnusableFile(f"There is no file {path}.")
    if path.suffix not in SUFFIXES:
        raise UnusableFile(f"{path.name} is none of {', '.join(SUFFIXES)}. Save the state dict so.")
    if not path.stat().st_size:
        raise UnusableFile(f"{path.name} is empty.")


def _said(file: Path, manifest: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """A manifest's fields, and over them those of the command line."""
    path = manifest or manifest_beside(file)
    fields = {} if path is None else read_manifest(path)
    if path is not None and manifest is None:
        note(f"Manifest: {path.name}, beside the file.")
    options = {name: value for name, value in given.items() if value is not None}
    if "class_names" in options and "n_classes" not in options:
        fields.pop("n_classes", None)
    return {**fields, **options}


def _say_what_is_sent(manifest: dict[str, Any], facts: Facts | None) -> None:
    names = manifest.get("class_names") or ()
    n_classes = len(names) or manifest.get("n_classes") or 0
    shown = f": {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else ""
    note(
        f"{manifest['backbone']}, {manifest['image_size']} px, "
        f"{count(manifest['channels'], 'channel')}, {count(n_classes, 'class', 'classes')}{shown}"
    )
    if facts is None:
        return
    if facts.n_classes not in (None, n_classes):
        note(f"! The file's last layer seems to have {facts.n_classes} outputs.", "yellow")
    if facts.backbone not in (None, manifest["backbone"]):
        note(f"! The file looks like {facts.backbone}.", "yellow")


def _end(model: Model, *, converted: bool, as_json: bool) -> None:
    if as_json:
        print_json(model)
    else:
        print_verdict(model)
    if model["status"] == "ready":
        hint("push another, or: modelpool build --watch")
        return
    if converted:
        note("It was converted here; --as-is sends the original file, which says a little more.")
    raise typer.Exit(Exit.BAD_END)
