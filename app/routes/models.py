"""Pool models: upload, list, look at, withdraw."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, BinaryIO, Self

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.deps import DatabaseDep, ModelReader, ModelWriter, SessionDep, StoreDep
from app.errors import responses
from app.manifest import EXAMPLE, Normalization, parse_manifest
from app.multipart import multipart_form
from app.paging import Cursor, Limit, decode_cursor, encode_cursor
from pool import errors
from pool.database import repository
from pool.database.tables import ModelRow
from pool.domain import Manifest, ModelStatus
from pool.errors import InvalidInput
from pool.usecases.upload import receive_model
from pool.usecases.withdraw import withdraw_model

router = APIRouter(prefix="/v1/models", tags=["models"])

MANIFEST_BYTES = 256 * 1024
HASH_BYTES = 1024 * 1024


class ModelOut(BaseModel):
    """A pool model as a record."""

    id: str
    name: str
    pool: str
    backbone: str
    status: ModelStatus
    reason: str | None = Field(description="Why it was rejected.")
    reason_code: str | None = Field(description="The same, for programs.")
    recipe: str | None = Field(description="What the uploader can do about it.")
    class_names: list[str]
    image_size: int
    channels: int
    normalization: Normalization
    domain: str | None
    description: str | None
    training_data_note: str | None
    dp_epsilon: float | None
    sha256: str = Field(description="Of the bytes as uploaded.")
    size_bytes: int
    source_format: str | None
    n_parameters: int | None
    created_at: datetime

    @classmethod
    def of(cls, row: ModelRow, pool: str) -> Self:
        """The record's public side."""
        fields: dict[str, Any] = {
            name: getattr(row, name)
            for name in cls.model_fields
            if name not in ("pool", "normalization")
        }
        return cls(**fields, pool=pool, normalization=Normalization(mean=row.mean, std=row.std))


class ModelPage(BaseModel):
    """Some of the models, newest first."""

    items: list[ModelOut]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class CheckpointForm:
    """An upload, parsed: the checkpoint's bytes are in memory or in an unnamed file."""

    manifest: Manifest
    stream: BinaryIO
    size: int
    sha256: str


async def read_checkpoint_form(request: Request, _: ModelWriter) -> AsyncIterator[CheckpointForm]:
    """Parse the upload; the caller is known before the first byte of the body is read."""
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
        yield CheckpointForm(parse_manifest(manifest), checkpoint.file, size, sha256)


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


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        200: {"description": "These bytes are in the pool already", "model": ModelOut},
        **responses(
            errors.PoolNotFound,
            errors.ManifestConflict,
            errors.TooLarge,
            errors.StorageFull,
            errors.StorageUnavailable,
        ),
    },
    openapi_extra=MULTIPART,
)
def upload_model(
    form: Annotated[CheckpointForm, Depends(read_checkpoint_form)],
    caller: ModelWriter,
    database: DatabaseDep,
    store: StoreDep,
    response: Response,
) -> ModelOut:
    """Upload a checkpoint; its inspection follows, look for `ready` or `rejected` at its record."""
    model, is_new = receive_model(
        database,
        store,
        caller.organisation_id,
        form.manifest,
        stream=form.stream,
        size=form.size,
        sha256=form.sha256,
    )
    if not is_new:
        response.status_code = HTTPStatus.OK
    return ModelOut.of(model, form.manifest.pool)


@router.get("", responses=responses(errors.PoolNotFound))
def list_models(
    session: SessionDep,
    caller: ModelReader,
    pool: str | None = None,
    status: Annotated[ModelStatus | None, Query(description="Only models in this state.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ModelPage:
    """Your models, newest first."""
    where = []
    if pool is not None:
        found = repository.find_pool(session, caller.organisation_id, pool)
        where.append(ModelRow.pool_id == found.id)
    if status is not None:
        where.append(ModelRow.status == status)
    rows, position = repository.page(
        session,
        ModelRow,
        caller.organisation_id,
        after=decode_cursor(cursor),
        limit=limit,
        where=where,
    )
    items = [ModelOut.of(row, row.pool.name) for row in rows]
    return ModelPage(items=items, next_cursor=encode_cursor(position))


@router.get("/{model_id}", responses=responses(errors.ModelNotFound))
def get_model(model_id: str, session: SessionDep, caller: ModelReader) -> ModelOut:
    """One model: its state and, if it was rejected, why and what to do."""
    row = repository.find_model(session, caller.organisation_id, model_id)
    return ModelOut.of(row, row.pool.name)


@router.delete("/{model_id}", responses=responses(errors.ModelNotFound, errors.ModelInUse))
def delete_model(
    model_id: str, session: SessionDep, store: StoreDep, caller: ModelWriter
) -> ModelOut:
    """Withdraw a model: delete its bytes and ensembles, cancel its builds, mark what learnt."""
    row = withdraw_model(session, store, caller.organisation_id, model_id)
    return ModelOut.of(row, row.pool.name)
