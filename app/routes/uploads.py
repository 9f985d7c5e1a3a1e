"""Resumable uploads: announce a checkpoint, send its parts, complete it, look how far it is."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.deps import (
    DatabaseDep,
    ModelReader,
    ModelWriter,
    PartsDep,
    SessionDep,
    SettingsDep,
    StoreDep,
)
from app.errors import CREATES, responses
from app.idempotency import Once, once_for
from app.manifest import EXAMPLE, ManifestIn
from app.paging import Cursor, Limit, decode_cursor, encode_cursor
from app.threads import ThreadedRoute
from app.upload_parts import receive_part
from app.upload_shapes import PartOut, UploadOut, UploadPage, UploadProgress, check_number
from app.waiting import wait_for_upload
from pool import errors
from pool.database import repository
from pool.database.paging import page
from pool.database.session import Database
from pool.database.upload_tables import UploadRow
from pool.domain import Scope
from pool.errors import InvalidInput, TooLarge
from pool.storage.parts import MAX_PART_BYTES, MIN_PART_BYTES, MOST_PARTS, plan_parts
from pool.storage.store import quarantine_key
from pool.usecases import uploads
from pool.usecases.quotas import Quotas, check_new

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=ThreadedRoute)

EXAMPLE_ORDER: JsonDict = {"manifest": EXAMPLE, "size_bytes": 2_147_483_648}


class UploadIn(BaseModel):
    """What is going to be uploaded."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_ORDER]})

    manifest: ManifestIn
    size_bytes: int = Field(ge=1, strict=True, description="Of the checkpoint, all parts together.")
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-fA-F]{64}$",
        description="Of the checkpoint. Compared when it is complete; with it, bytes that are in "
        "the pool already need not be sent.",
    )
    part_size: int | None = Field(
        default=None,
        ge=MIN_PART_BYTES,
        le=MAX_PART_BYTES,
        description="Bytes of each part but the last; left out, the server chooses.",
    )


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=responses(
        errors.PoolNotFound,
        errors.PoolNameAmbiguous,
        errors.RoleRequired,
        errors.ManifestConflict,
        errors.ChecksumMismatch,
        errors.StorageUnavailable,
        errors.QuotaExceeded,
        *CREATES,
    ),
)
def create_upload(
    order: UploadIn,
    once: Annotated[Once, once_for(Scope.MODELS_WRITE)],
    caller: ModelWriter,
    database: DatabaseDep,
    parts: PartsDep,
    settings: SettingsDep,
) -> UploadOut:
    """Begin a resumable upload; `GET` it for where its parts go, then complete it."""
    for field, detail in order.manifest.disagreements():
        raise InvalidInput(f"{field}: {detail}.", part=f"body/manifest/{field}")
    if order.size_bytes > settings.max_upload_bytes:
        raise TooLarge(
            f"This server takes checkpoints of up to {settings.max_upload_bytes:,} bytes. Leave "
            "out an optimiser's state, or ask the operator to raise the limit."
        )

    def on_new(session: Session, row: UploadRow) -> None:
        check_new(session, row, Quotas.of_deployment(settings))
        once.keep(session, UploadOut.of(row, parts))

    row = uploads.open_upload(
        database,
        parts,
        caller.organisation_id,
        uploads.Announced(
            manifest=order.manifest.to_domain(),
            plan=plan_parts(order.size_bytes, order.part_size),
            sha256=order.sha256,
        ),
        expires_s=settings.upload_expires_s,
        on_new=on_new,
    )
    return UploadOut.of(row, parts)


@router.get("", responses=responses())
def list_uploads(
    session: SessionDep,
    caller: ModelReader,
    parts: PartsDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> UploadPage:
    """Your uploads, newest first."""
    rows, position = page(
        session, UploadRow, caller.organisation_id, after=decode_cursor(cursor), limit=limit
    )
    items = [UploadOut.of(row, parts) for row in rows]
    return UploadPage(items=items, next_cursor=encode_cursor(position))


@router.get(
    "/{upload_id}",
    responses=responses(errors.UploadNotFound, errors.StorageUnavailable, errors.TooManyFollowers),
    dependencies=[Depends(wait_for_upload)],
)
def get_upload(
    upload_id: str,
    database: DatabaseDep,
    caller: ModelWriter,
    parts: PartsDep,
    settings: SettingsDep,
    urls: Annotated[
        int, Query(ge=0, le=1000, description="For how many missing parts to say where they go.")
    ] = 100,
) -> UploadProgress:
    """How far an upload is: the parts that arrived, and where the next ones go.

    Send each of `next_parts` by `PUT` to its `url` (resolve it against this request's address),
    with your API key if `send_key` says so, then ask again; when `next_parts` is empty, complete
    the upload. An interrupted client begins here, too. `wait_s` answers when an upload that is
    being assembled has become a model, or has not.
    """
    row = _find(database, caller.organisation_id, upload_id)
    return UploadProgress.about(
        row, parts, uploads.received_parts(parts, row), most=urls, settings=settings
    )


@router.put(
    "/{upload_id}/parts/{number}",
    responses={
        307: {"description": "Send the part to the address in `Location`, without the API key"},
        **responses(
            errors.UploadNotFound,
            errors.UploadEnded,
            errors.PartMismatch,
            errors.StorageFull,
            errors.StorageUnavailable,
        ),
    },
    response_model=PartOut,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {
                    "schema": {"type": "string", "format": "binary"},
                    "example": "(bytes)",
                }
            },
        }
    },
)
async def put_part(
    upload_id: str,
    number: Annotated[int, Path(ge=1, le=MOST_PARTS)],
    request: Request,
    caller: ModelWriter,
    database: DatabaseDep,
    parts: PartsDep,
    settings: SettingsDep,
) -> Any:
    """Send one part, again if it was interrupted; parts may come in any order, many at once.

    Where parts go to an S3 server, this answers 307 with the URL there: `curl -L -T` follows it.
    """
    row = await run_in_threadpool(_find, database, caller.organisation_id, upload_id)
    uploads.check_open(row)
    plan = check_number(row, number)
    size = plan.length(number)
    if parts.presigns:
        key, expires_s = quarantine_key(row.reserved_id), settings.part_url_expires_s
        there = parts.url(key, row.token, number, size=size, expires_s=expires_s)
        return RedirectResponse(there, HTTPStatus.TEMPORARY_REDIRECT)
    part = await receive_part(request, parts, token=row.token, number=number, size=size)
    return PartOut.of(part)


@router.post(
    "/{upload_id}/complete",
    status_code=HTTPStatus.ACCEPTED,
    responses=responses(
        errors.UploadNotFound,
        errors.UploadIncomplete,
        errors.UploadEnded,
        errors.StorageUnavailable,
        *CREATES,
    ),
)
def complete_upload(
    upload_id: str,
    once: Annotated[Once, once_for(Scope.MODELS_WRITE)],
    caller: ModelWriter,
    database: DatabaseDep,
    store: StoreDep,
    parts: PartsDep,
) -> UploadOut:
    """Have the parts joined and checked: a job does it, look at the upload for its `model_id`.

    Completing twice, or from two clients at once, is the same as once.
    """

    def on_answer(session: Session, row: UploadRow) -> None:
        once.keep(session, UploadOut.of(row, parts))

    row = uploads.complete_upload(
        database, store, parts, caller.organisation_id, upload_id, on_answer=on_answer
    )
    return UploadOut.of(row, parts)


@router.delete(
    "/{upload_id}",
    responses=responses(errors.UploadNotFound, errors.UploadEnded),
)
def abort_upload(
    upload_id: str, database: DatabaseDep, caller: ModelWriter, parts: PartsDep
) -> UploadOut:
    """Give an upload up; its parts are deleted. A complete one is withdrawn as a model instead."""
    row = uploads.abort_upload(database, parts, caller.organisation_id, upload_id)
    return UploadOut.of(row, parts)


def _find(database: Database, organisation_id: str, upload_id: str) -> UploadRow:
    """In a transaction of its own: none stays open while a body or a store is waited for."""
    with database.read() as session:
        return repository.find_upload(session, organisation_id, upload_id)
