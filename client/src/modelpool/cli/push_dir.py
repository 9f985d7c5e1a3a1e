"""Push a folder of checkpoints, each with its manifest beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from modelpool.checkpoints import SUFFIXES, read_facts
from modelpool.cli.connection import connect
from modelpool.cli.exits import Exit
from modelpool.cli.output import Json, busy, count, hint, note, print_json, print_table, say
from modelpool.cli.push import AS_IS
from modelpool.cli.questions import OPTIONS
from modelpool.cli.sending import prepared, send
from modelpool.client import Client
from modelpool.errors import NotAuthorised, Refused, UnusableFile, UploadFailed
from modelpool.manifests import as_manifest, manifest_beside, missing, read_manifest, with_facts

MOST_REASONS = 5


@dataclass
class Item:
    """A checkpoint of the folder and what became of it."""

    path: Path
    fields: dict[str, Any]
    status: str = "not sent"
    model_id: str | None = None
    why: str = ""
    recipe: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "file": self.path.name,
            "status": self.status,
            "model_id": self.model_id,
            "reason": self.why or None,
            "recipe": self.recipe,
        }


def push_dir(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="NAME.safetensors (.pt, .pth) with NAME.json.")
    ],
    pool: Annotated[
        str | None, typer.Option("--pool", "-p", help="Into which pool, whatever manifests say.")
    ] = None,
    as_is: AS_IS = False,
    as_json: Json = False,
) -> None:
    """Push every checkpoint of a folder that has a manifest beside it.

    Run again, it goes on: what the pool has already is not sent again.
    """
    items = _items(folder, pool)
    with connect(patient=True) as client:
        for number, item in enumerate(items, start=1):
            _send(client, item, label=f"{number} of {len(items)}", as_is=as_is)
        with busy(f"Inspecting {count(len(items), 'checkpoint')}"):
            for item in items:
                _look(client, item)
    _print(items, as_json=as_json)
    if any(item.status != "ready" for item in items):
        raise typer.Exit(Exit.BAD_END)


def _items(folder: Path, pool: str | None) -> list[Item]:
    if not folder.is_dir():
        raise UnusableFile(f"{folder} is no folder.")
    files = sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES)
    items, alone = [], 0
    for path in files:
        manifest = manifest_beside(path)
        if manifest is None:
            alone += 1
            continue
        fields = read_manifest(manifest)
        items.append(Item(path=path, fields={**fields, "pool": pool} if pool else fields))
    if not items:
        raise UnusableFile(
            f"{folder} holds no checkpoint ({', '.join(SUFFIXES)}) with a manifest beside it; the "
            "manifest of NAME.safetensors is NAME.json."
        )
    if alone:
        note(f"! {count(alone, 'checkpoint')} without a manifest: left out.", "yellow")
    return items


def _send(client: Client, item: Item, *, label: str, as_is: bool) -> None:
    """Send one; what is wrong with it alone does not stop the others."""
    try:
        with prepared(item.path, as_is=as_is) as ready:
            fields = {"name": item.path.stem, **with_facts(item.fields, read_facts(ready.path))}
            lacks = missing(fields)
            if lacks:
                named = ", ".join(OPTIONS[name].lstrip("-") for name in lacks)
                raise UnusableFile(f"Its manifest lacks: {named}")
            item.model_id = send(client, ready.path, as_manifest(fields), label=label)
            item.status = "sent"
    except NotAuthorised:
        raise
    except (Refused, UploadFailed, UnusableFile) as error:
        item.status, item.why = "refused", str(error)


def _look(client: Client, item: Item) -> None:
    if item.model_id is None:
        return
    model = client.wait_for_model(item.model_id)
    item.status, item.why, item.recipe = model["status"], model["reason"] or "", model["recipe"]


def _print(items: list[Item], *, as_json: bool) -> None:
    if as_json:
        print_json([item.as_json() for item in items])
        return
    print_table(
        ("file", "status", "model"),
        [(item.path.name, item.status, item.model_id) for item in items],
    )
    wrong = [item for item in items if item.why]
    for item in wrong[:MOST_REASONS]:
        say()
        say(f"{item.path.name}: {item.why.splitlines()[0]}")
        if item.model_id:
            note(f"All of it: modelpool models show {item.model_id}")
    if len(wrong) > MOST_REASONS:
        note(f"And {len(wrong) - MOST_REASONS} more; --json has all reasons.")
    n_ready = sum(item.status == "ready" for item in items)
    say()
    say(f"{n_ready} of {count(len(items), 'checkpoint')} ready.")
    if n_ready:
        hint("modelpool build --watch")
