"""What takes several requests: pages of a list, waiting for an end, a resumable upload."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from modelpool import calls
from modelpool.errors import Refused, UploadFailed
from modelpool.records import Build, Manifest, Model, NextPart, Upload, UploadProgress
from modelpool.wire import BLOCK_BYTES, FilePart, Flow, Patience, answered

UNDECIDED_MODELS = frozenset({"received", "inspecting"})
FINAL_BUILDS = frozenset({"succeeded", "failed", "canceled"})
ASSEMBLIES = 3
"""How often an upload that the server could not assemble is completed again."""


@dataclass(frozen=True)
class Checkpoint:
    """A file to push, by its content."""

    path: Path
    size_bytes: int
    sha256: str


def checkpoint_at(path: Path, on_read: Callable[[int], None] = lambda _: None) -> Checkpoint:
    """Read a file once, for its size and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(4 * BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            on_read(size)
    return Checkpoint(path=path, size_bytes=size, sha256=digest.hexdigest())


@dataclass(frozen=True)
class Watcher:
    """Who wants to know how a push goes."""

    on_begun: Callable[[Upload], None] = lambda _: None
    """Told the upload's record: keep its id to go on after an interruption."""
    on_sent: Callable[[int], None] = lambda _: None
    """Told how many bytes of the file the server has or was handed so far."""


def next_page(
    path: str, cursor: str | None, patience: Patience, **where: str | None
) -> Flow[calls.Page]:
    """One page of a list."""
    return answered(calls.page(path, cursor=cursor, **where), patience)


def inspected(model_id: str, patience: Patience) -> Flow[Model]:
    """A model's record once it is `ready`, `rejected` or `withdrawn`."""
    while True:
        model = yield from answered(calls.model(model_id, wait_s=calls.WAIT_S), patience)
        if model["status"] not in UNDECIDED_MODELS:
            return model


def ended(build_id: str, patience: Patience) -> Flow[Build]:
    """A build's record once it has ended."""
    while True:
        build = yield from answered(calls.build(build_id, wait_s=calls.WAIT_S), patience)
        if build["status"] in FINAL_BUILDS:
            return build


def pushed(
    checkpoint: Checkpoint,
    manifest: Manifest,
    *,
    base_url: str,
    patience: Patience,
    upload_id: str | None = None,
    part_size: int | None = None,
    watcher: Watcher = Watcher(),
) -> Flow[str]:
    """Send a checkpoint; the id of the model that it becomes, not inspected yet.

    Args:
        checkpoint: what to send.
        manifest: what it is.
        base_url: where relative URLs of parts begin.
        patience: with each request.
        upload_id: of an interrupted push of the same bytes, if there was one.
        part_size: bytes of a part; None leaves it to the server.
        watcher: is told how it goes.

    Raises:
        UploadFailed: what arrived is not what was announced, or cannot be stored.
    """
    upload = yield from _opened(checkpoint, manifest, upload_id, part_size, patience)
    watcher.on_begun(upload)
    for _ in range(ASSEMBLIES):
        if upload["status"] == "open":
            yield from _send_missing(upload["id"], checkpoint, base_url, patience, watcher)
            yield from answered(calls.complete_upload(upload["id"]), patience)
        upload = yield from _assembled(upload["id"], patience)
        if upload["status"] != "open":
            break
    if upload["status"] != "completed" or upload["model_id"] is None:
        why = upload["reason"] or f"The upload is {upload['status']}."
        raise UploadFailed(f"{why} Push the file again.")
    watcher.on_sent(checkpoint.size_bytes)
    return upload["model_id"]


def _opened(
    checkpoint: Checkpoint,
    manifest: Manifest,
    upload_id: str | None,
    part_size: int | None,
    patience: Patience,
) -> Flow[Upload]:
    """The interrupted upload if it can go on, else a new one."""
    if upload_id is not None:
        try:
            found = yield from answered(calls.upload(upload_id), patience)
        except Refused as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise
        else:
            if found["status"] in ("open", "assembling", "completed"):
                return found
    begin = calls.begin_upload(
        manifest,
        size_bytes=checkpoint.size_bytes,
        sha256=checkpoint.sha256,
        part_size=part_size,
    )
    begun: Upload = yield from answered(begin, patience)
    return begun


def _send_missing(
    upload_id: str, checkpoint: Checkpoint, base_url: str, patience: Patience, watcher: Watcher
) -> Flow[None]:
    """Send what the server says is missing until it says that nothing is."""
    while True:
        progress: UploadProgress = yield from answered(calls.upload(upload_id), patience)
        sent = sum(part["size_bytes"] for part in progress["received"])
        watcher.on_sent(sent)
        if not progress["next_parts"]:
            return
        for part in progress["next_parts"]:
            body = _body(part, checkpoint.path, sent, watcher)
            url = urljoin(base_url, part["url"])
            send = calls.send_part(part, url, body, with_key=progress["send_key"])
            yield from answered(send, patience)
            sent += part["size_bytes"]


def _body(part: NextPart, path: Path, sent: int, watcher: Watcher) -> FilePart:
    return FilePart(
        path=path,
        offset=part["offset"],
        size_bytes=part["size_bytes"],
        on_sent=lambda of_part: watcher.on_sent(sent + of_part),
    )


def _assembled(upload_id: str, patience: Patience) -> Flow[Any]:
    while True:
        upload = yield from answered(calls.upload(upload_id, wait_s=calls.WAIT_S), patience)
        if upload["status"] != "assembling":
            return upload
