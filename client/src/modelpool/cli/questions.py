"""What the manifest still lacks is asked for, on a terminal."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer

from modelpool.checkpoints import BACKBONES, Facts
from modelpool.cli.output import count, err, note
from modelpool.errors import UnusableFile
from modelpool.manifests import MAX_SIDE, MIN_SIDE, class_names_of, missing, normalization_of

OPTIONS = {
    "name": "--name",
    "backbone": "--backbone",
    "channels": "--channels",
    "image_size": "--image-size",
    "normalization": "--normalization",
    "class_names": "--classes",
}


def complete(known: Mapping[str, Any], facts: Facts | None, *, stem: str) -> dict[str, Any]:
    """The manifest with answers to what it lacked.

    Raises:
        UnusableFile: something is missing, and nobody can be asked.
    """
    manifest = {**known}
    lacks = missing(manifest)
    if "name" in lacks and not can_ask():
        manifest["name"] = stem
        note(f"Name: {stem} (of the file; --name gives another)")
        lacks = missing(manifest)
    if lacks and not can_ask():
        named = ", ".join(OPTIONS[name] for name in lacks)
        raise UnusableFile(
            f"The file does not say everything, and nobody can be asked here. Add: {named} "
            "(or a manifest: --manifest FILE)"
        )
    if lacks and facts is not None:
        note(f"Read from the file: {told(facts)}.")
    for name in lacks:
        manifest.update(ASK[name](manifest, facts, stem))
    return manifest


def told(facts: Facts) -> str:
    """A header's facts in a line."""
    parts = [
        facts.backbone,
        facts.channels and count(facts.channels, "channel"),
        facts.n_classes and count(facts.n_classes, "output"),
        f"{facts.n_parameters:,} numbers in {count(facts.n_tensors, 'tensor')}",
    ]
    return ", ".join(part for part in parts if part)


def can_ask() -> bool:
    """Whether somebody sits at a terminal."""
    return sys.stdin.isatty() and err().is_terminal


def _name(_: Mapping[str, Any], __: Facts | None, stem: str) -> dict[str, Any]:
    return {"name": _until_right("Name of the model, shown to the pool", str, default=stem)}


def _backbone(_: Mapping[str, Any], __: Facts | None, ___: str) -> dict[str, Any]:
    note(f"Backbones: {', '.join(BACKBONES)}")
    return {"backbone": _until_right("Backbone", str)}


def _channels(_: Mapping[str, Any], __: Facts | None, ___: str) -> dict[str, Any]:
    def parse(text: str) -> int:
        if text not in ("1", "3"):
            raise UnusableFile("1 for grey images, 3 for colours.")
        return int(text)

    return {"channels": _until_right("Channels of its images (1 grey, 3 colour)", parse)}


def _image_size(_: Mapping[str, Any], __: Facts | None, ___: str) -> dict[str, Any]:
    def parse(text: str) -> int:
        if not text.isdigit() or not MIN_SIDE <= int(text) <= MAX_SIDE:
            raise UnusableFile(f"A whole number of pixels, {MIN_SIDE} to {MAX_SIDE}.")
        return int(text)

    return {"image_size": _until_right("Side of the images it was trained on, in pixels", parse)}


def _normalization(known: Mapping[str, Any], _: Facts | None, __: str) -> dict[str, Any]:
    note("What training subtracted and divided by: imagenet, half, none, or MEAN/STD.")
    channels = int(known.get("channels") or 3)
    return {
        "normalization": _until_right(
            "Normalization", lambda text: normalization_of(text, channels)
        )
    }


def _class_names(_: Mapping[str, Any], facts: Facts | None, __: str) -> dict[str, Any]:
    n_classes = facts.n_classes if facts else None

    def parse(text: str) -> dict[str, Any]:
        names = class_names_of(text)
        if n_classes and not names:
            return {"n_classes": n_classes}
        if len(names) < 2 or (n_classes and len(names) != n_classes):
            wanted = f"{n_classes} names" if n_classes else "Two names at least"
            raise UnusableFile(f"{wanted}, with commas between; these are {len(names)}.")
        return {"class_names": names}

    question = "Names of its classes, in order, with commas"
    if n_classes:
        question = f"Names of its {n_classes} classes, in order, with commas (or nothing)"
    answer: dict[str, Any] = _until_right(question, parse, default="" if n_classes else None)
    return answer


Question = Callable[[Mapping[str, Any], "Facts | None", str], dict[str, Any]]
ASK: dict[str, Question] = {
    "name": _name,
    "backbone": _backbone,
    "channels": _channels,
    "image_size": _image_size,
    "normalization": _normalization,
    "class_names": _class_names,
}


def _until_right(question: str, parse: Callable[[str], Any], default: str | None = None) -> Any:
    """Ask until the answer can be used."""
    while True:
        text: str = typer.prompt(question, default=default, show_default=bool(default), err=True)
        try:
            return parse(text.strip())
        except UnusableFile as error:
            note(str(error), "yellow")
