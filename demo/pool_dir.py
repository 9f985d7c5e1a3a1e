"""A directory of checkpoints, each with its manifest beside it: read, and uploaded."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from demo.api import Api, Record, Refused
from demo.errors import DemoError
from demo.parallel import for_each
from demo.story import Story

SUFFIXES = (".safetensors", ".pt", ".pth")
UPLOADS_AT_ONCE = 4
REFUSALS_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A file of weights and what its owner says about it."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes it tells apart, if the manifest names them."""
        return tuple(self.manifest.get("class_names") or ())


def read_pool(directory: Path) -> tuple[list[Checkpoint], list[Path]]:
    """All checkpoints that have a manifest, by name, and those that have none.

    Raises:
        DemoError: if there is no checkpoint with a manifest, or a manifest is no JSON object.
    """
    if not directory.is_dir():
        raise DemoError(f"{directory} is no directory.")
    paired, alone = [], []
    for path in sorted(each for each in directory.iterdir() if each.suffix in SUFFIXES):
        manifest = path.with_suffix(".json")
        if manifest.is_file():
            paired.append(Checkpoint(path=path, manifest=read_manifest(manifest)))
        else:
            alone.append(path)
    if not paired:
        raise DemoError(
            f"{directory} holds no checkpoint ({', '.join(SUFFIXES)}) with a manifest beside it; "
            "the manifest of NAME.safetensors is NAME.json."
        )
    return paired, alone


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest, for the demo's one pool.

    Raises:
        DemoError: if it is no JSON object.
    """
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:
        raise DemoError(f"{path} is no JSON: {error}.") from error
    if not isinstance(manifest, dict):
        raise DemoError(f"{path} is no JSON object.")
    return {**manifest, "pool": "default"}  # the demo's server has this pool only


def upload_pool(api: Api, checkpoints: Sequence[Checkpoint], story: Story) -> list[str]:
    """Send every checkpoint, a few at a time; the ids of the models the server took in."""
    records: list[Record] = []
    refusals: list[str] = []
    uploads = for_each(checkpoints, partial(_upload, api), at_once=UPLOADS_AT_ONCE)
    with story.bar("uploading") as bar, closing(uploads):
        for done, (checkpoint, upload) in enumerate(uploads, start=1):
            try:
                records.append(upload.result())
            except Refused as refusal:
                refusals.append(f"{checkpoint.path.name}: {refusal}")
            bar.update(done / len(checkpoints), f"{done} of {len(checkpoints)}")
    if refusals:
        story.say(f"{len(refusals)} uploads were refused:")
        for refusal_text in sorted(refusals)[:REFUSALS_SHOWN]:
            story.say(refusal_text, indent=8)
    return sorted({record["id"] for record in records})


def _upload(api: Api, checkpoint: Checkpoint) -> Record:
    return api.upload(checkpoint.path, checkpoint.manifest)
