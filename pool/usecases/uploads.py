"""Resumable uploads up to their completion: announce, look, complete, give up.

The row says where an upload stands, the part store which parts are there. Completing only changes
the row and queues a job (`pool/usecases/assemble.py`), so it takes no longer for a large file
(ADR 9).
"""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from pool.database import jobs, repository
from pool.database.session import Database
from pool.database.upload_tables import UploadRow
from pool.database.visible import require_role
from pool.domain import UPLOADS_UNDER_WAY, JobKind, Manifest, UploadStatus, new_id, utc_now
from pool.errors import ChecksumMismatch, PoolError, UploadEnded, UploadIncomplete
from pool.roles import Action
from pool.storage.parts import Part, PartPlan, PartStore
from pool.storage.store import ObjectStore, quarantine_key
from pool.usecases.upload import same_model

MOST_NAMED = 20
"""How many wrong parts a refusal names."""

OnChange = Callable[[Session, UploadRow], None]
"""What else belongs into the transaction that changes an upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What a client says of the upload it begins."""

    manifest: Manifest
    plan: PartPlan
    sha256: str | None


def open_upload(
    database: Database,
    parts: PartStore,
    organisation_id: str,
    announced: Announced,
    *,
    expires_s: float,
    on_new: OnChange,
) -> UploadRow:
    """Begin an upload; the organisation's own bytes in the pool need not be sent again.

    That another member has these bytes is said to nobody who only knows their checksum.

    Raises:
        PoolNotFound, PoolNameAmbiguous, RoleRequired, ChecksumMismatch, ManifestConflict,
        StorageUnavailable: nothing was kept.
    """
    manifest = announced.manifest
    sha256 = _announced_sha256(announced)
    with database.read() as session:
        pool = repository.find_pool(session, organisation_id, manifest.pool, Action.UPLOAD)
        known = sha256 and repository.find_live_model_by_bytes(session, pool.id, sha256)
    row = UploadRow(
        id=new_id("upl"),
        organisation_id=organisation_id,
        pool_id=pool.id,
        status=UploadStatus.OPEN,
        manifest=asdict(manifest),
        size_bytes=announced.plan.size_bytes,
        part_bytes=announced.plan.part_bytes,
        sha256=sha256,
        token="",
        reserved_id=new_id("mdl"),
        created_at=utc_now(),
        expires_at=utc_now() + timedelta(seconds=expires_s),
    )
    if known and known.organisation_id == organisation_id:
        same_model(known, organisation_id, manifest)
        row.status, row.model_id = UploadStatus.COMPLETED, known.id
    else:
        row.token = parts.begin(quarantine_key(row.reserved_id))
    try:
        with database.write() as session:
            require_role(session, organisation_id, pool, Action.UPLOAD)  # it may have gone since
            session.add(row)
            session.flush()
            session.refresh(row)
            on_new(session, row)
    except BaseException:
        _discard_quietly(parts, row)
        raise
    return row


def _announced_sha256(announced: Announced) -> str | None:
    said = {each.lower() for each in (announced.sha256, announced.manifest.sha256) if each}
    if len(said) > 1:
        raise ChecksumMismatch(
            "The upload's sha256 and its manifest's differ; correct one, or leave one out."
        )
    return next(iter(said), None)


def _discard_quietly(parts: PartStore, row: UploadRow) -> None:
    """The failure that is under way matters more; the sweep finds what stays."""
    with contextlib.suppress(PoolError):
        if row.token:
            parts.discard(quarantine_key(row.reserved_id), row.token)


def plan_of(row: UploadRow) -> PartPlan:
    """How the upload is cut."""
    return PartPlan(size_bytes=row.size_bytes, part_bytes=row.part_bytes)


def manifest_of(row: UploadRow) -> Manifest:
    """The manifest as it was announced; JSON has lists where it has tuples."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.manifest.items()
    }
    return Manifest(**fields)


def received_parts(parts: PartStore, row: UploadRow) -> list[Part]:
    """The parts that arrived and are as long as planned; another is to be sent again."""
    if row.status not in UPLOADS_UNDER_WAY:
        return []
    plan = plan_of(row)
    return [
        part
        for part in parts.received(quarantine_key(row.reserved_id), row.token)
        if 1 <= part.number <= plan.n_parts and part.size_bytes == plan.length(part.number)
    ]


def check_open(row: UploadRow) -> None:
    """Return if the upload takes parts.

    Raises:
        UploadEnded: it does not any more.
    """
    if row.status == UploadStatus.OPEN and row.expires_at > utc_now():
        return
    status = UploadStatus.EXPIRED if row.status == UploadStatus.OPEN else row.status
    why = {
        UploadStatus.ASSEMBLING: "it is being assembled; GET it to see what becomes of it.",
        UploadStatus.COMPLETED: f"it is complete: GET /v1/models/{row.model_id}.",
        UploadStatus.FAILED: f"it failed. {row.reason} Begin a new upload.",
        UploadStatus.ABORTED: "it was given up. Begin a new upload.",
        UploadStatus.EXPIRED: "nobody completed it in time. Begin a new upload.",
    }
    raise UploadEnded(f"The upload takes no parts any more: {why[status]}")


def complete_upload(
    database: Database,
    store: ObjectStore,
    parts: PartStore,
    organisation_id: str,
    upload_id: str,
    *,
    on_answer: OnChange,
) -> UploadRow:
    """open -> assembling, and a job that joins the parts; asked again, it says how far that is.

    Raises:
        UploadNotFound, UploadIncomplete, UploadEnded, StorageUnavailable: nothing changed.
    """
    with database.read() as session:
        row = repository.find_upload(session, organisation_id, upload_id)
    if row.status not in (UploadStatus.ASSEMBLING, UploadStatus.COMPLETED):
        check_open(row)
        _check_parts(store, parts, row)
    with database.write() as session:
        won = session.scalar(
            update(UploadRow)
            .where(UploadRow.id == upload_id, UploadRow.status == UploadStatus.OPEN)
            .values(status=UploadStatus.ASSEMBLING, reason=None, reason_code=None)
            .returning(UploadRow.id)
        )
        if won is not None:
            jobs.create(session, JobKind.ASSEMBLE, upload_id)
        row = repository.find_upload(session, organisation_id, upload_id)
        if row.status not in (UploadStatus.ASSEMBLING, UploadStatus.COMPLETED):
            check_open(row)
        on_answer(session, row)
    return row


def _check_parts(store: ObjectStore, parts: PartStore, row: UploadRow) -> None:
    """Ask the store, not the client, what is there."""
    n_parts = plan_of(row).n_parts
    there = {part.number for part in received_parts(parts, row)}
    if len(there) == n_parts or store.size(quarantine_key(row.reserved_id)) == row.size_bytes:
        return  # the second: an earlier completion had joined them
    missing = [number for number in range(1, n_parts + 1) if number not in there]
    named = ", ".join(map(str, missing[:MOST_NAMED])) + (", ..." if missing[MOST_NAMED:] else "")
    raise UploadIncomplete(
        f"{len(missing):,} of {n_parts:,} parts are missing or have the wrong size: {named}. "
        "GET the upload for where to send them, then complete it again."
    )


def abort_upload(
    database: Database, parts: PartStore, organisation_id: str, upload_id: str
) -> UploadRow:
    """Give an upload up; giving it up twice is no error. Its parts go now, or by the sweep.

    Raises:
        UploadNotFound: no such upload.
        UploadEnded: it is complete or failed, so there is nothing to give up.
    """
    with database.write() as session:
        was_open = session.scalar(
            update(UploadRow)
            .where(
                UploadRow.organisation_id == organisation_id,
                UploadRow.id == upload_id,
                UploadRow.status.in_(UPLOADS_UNDER_WAY),
            )
            .values(status=UploadStatus.ABORTED)
            .returning(UploadRow.id)
        )
        row = repository.find_upload(session, organisation_id, upload_id)
        if row.status != UploadStatus.ABORTED:
            check_open(row)
    if was_open is not None:
        _discard_quietly(parts, row)
    return row
