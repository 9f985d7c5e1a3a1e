"""The multipart form of an upload: a checkpoint beside its manifest."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.deps import DatabaseDep, ModelWriter, SettingsDep
from app.idempotency import Key
from app.manifest import EXAMPLE, parse_manifest
from app.multipart import multipart_form
from pool.database.session import Database
from pool.domain import Manifest
from pool.errors import InvalidInput
from pool.usecases import idempotency
from pool.usecases.quotas import Quotas, check_room

MANIFEST_BYTES = 256 * 1024
HASH_BYTES = 1024 * 1024
FORM_BYTES = MANIFEST_BYTES + 4096
"""What a body holds at most beside the checkpoint."""


@dataclass(frozen=True, slots=True)
class CheckpointForm:
    """An upload, parsed: the checkpoint's bytes are in memory or in an unnamed file."""

    manifest: Manifest
    stream: BinaryIO
    size: int
    sha256: str
    digest: str
    """Of manifest and checkpoint together."""


async def read_checkpoint_form(
    request: Request,
    caller: ModelWriter,
    database: DatabaseDep,
    settings: SettingsDep,
    key: Key = None,
) -> AsyncIterator[CheckpointForm]:
    """Parse the upload; caller and quota are known before the first byte of the body is read."""
    size = max(0, int(request.headers.get("content-length", 0)) - FORM_BYTES)
    quotas = Quotas.of_deployment(settings)
    await run_in_threadpool(_check_room, database, caller.organisation_id, quotas, size, key)
    async with multipart_form(
        request, max_files=2, max_fields=2, max_field_bytes=MANIFEST_BYTES, in_memory=False
    ) as form:
        manifest, checkpoint = form.get("manifest"), form.get("checkpoint")
        if isinstance(manifest, UploadFile):
            if (manifest.size or 0) > MANIFEST_BYTES:
                raise InvalidInput("The manifest is larger than 256 KiB.", part="manifest")
            manifest = (await manifest.read()).decode(errors="replace")
        if manifest is None:
            raise InvalidInput("The part `manifest` (JSON) is missing.", part="manifest")
        if not isinstance(checkpoint, UploadFile):
            raise InvalidInput(
                "The part `checkpoint` (a file) is missing: curl -F checkpoint=@model.safetensors.",
                part="checkpoint",
            )
        size, sha256 = await run_in_threadpool(_measure, checkpoint.file)
        yield CheckpointForm(
            manifest=parse_manifest(manifest),
            stream=checkpoint.file,
            size=size,
            sha256=sha256,
            digest=hashlib.sha256(f"{sha256}\n{manifest}".encode()).hexdigest(),
        )


def _check_room(
    database: Database, organisation_id: str, quotas: Quotas, size: int, key: str | None
) -> None:
    """Unless the request may be a repetition, which needs no room."""
    with database.read() as session:
        if key is None or not idempotency.is_known(session, organisation_id, key):
            check_room(session, organisation_id, quotas, size=size)


def form_digest(form: Annotated[CheckpointForm, Depends(read_checkpoint_form)]) -> str:
    """What tells uploads apart; the body's own bytes differ each time, by the form's boundary."""
    return form.digest


def _measure(stream: BinaryIO) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    while block := stream.read(HASH_BYTES):
        digest.update(block)
        size += len(block)
    stream.seek(0)
    return size, digest.hexdigest()


MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["checkpoint", "manifest"],
                    "properties": {
                        "checkpoint": {
                            "type": "string",
                            "format": "binary",
                            "description": ".safetensors, or a zip-format .pt/.pth state dict",
                        },
                        "manifest": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": {"$ref": "#/components/schemas/ManifestIn"},
                            "description": "JSON; see the schema ManifestIn",
                        },
                    },
                },
                "example": {"checkpoint": "(bytes)", "manifest": json.dumps(EXAMPLE)},
                "encoding": {"manifest": {"contentType": "application/json"}},
            }
        },
    }
}
