"""What becomes of an upload whose parts are joined: a model, a refusal, or another chance."""

from datetime import timedelta

from sqlalchemy import case, update
from sqlalchemy.orm import Session

from pool.database import repository
from pool.database.upload_tables import UploadRow
from pool.database.visible import require_role
from pool.domain import UploadStatus, utc_now
from pool.errors import (
    ChecksumMismatch,
    ContributedAlready,
    ManifestConflict,
    PoolError,
    RoleRequired,
)
from pool.roles import Action
from pool.usecases.upload import add_model, new_model_row, same_model
from pool.usecases.uploads import manifest_of

REFUSALS: dict[type[PoolError], str] = {
    ChecksumMismatch: "checksum-mismatch",
    ManifestConflict: "manifest-conflict",
    ContributedAlready: "contributed-already",
    RoleRequired: "role-required",
}
"""What is final, as the codes that a one-shot upload is answered with."""
ANOTHER_CHANCE = timedelta(days=1)
"""How long an upload stays open at least whose assembly failed on this side."""


def upload_to_assemble(session: Session, upload_id: str) -> UploadRow | None:
    """The upload; None when it was given up meanwhile."""
    row = session.get_one(UploadRow, upload_id)
    return row if row.status == UploadStatus.ASSEMBLING else None


def settle_upload(session: Session, upload_id: str, *, sha256: str, size: int) -> None:
    """assembling -> completed or failed, by what the joined bytes turned out to be.

    The model's record, its inspection and the upload's end are one transaction. Nothing happens to
    an upload that was given up meanwhile. Room was made when the upload began.

    Raises:
        IntegrityError: somebody else's upload of the same bytes won; ask again.
    """
    row = session.get_one(UploadRow, upload_id, with_for_update={"of": UploadRow})
    if row.status != UploadStatus.ASSEMBLING:
        return
    try:
        _check_bytes(row, sha256=sha256, size=size)
        require_role(session, row.organisation_id, row.pool, Action.UPLOAD)
        known = repository.find_live_model_by_bytes(session, row.pool_id, sha256)
        if known is None:
            row.model_id = _add_model(session, row, sha256=sha256)
        else:
            row.model_id = same_model(known, row.organisation_id, manifest_of(row)).id
    except tuple(REFUSALS) as refusal:
        row.status, row.reason = UploadStatus.FAILED, refusal.message
        row.reason_code = REFUSALS[type(refusal)]
    else:
        row.status = UploadStatus.COMPLETED


def _check_bytes(row: UploadRow, *, sha256: str, size: int) -> None:
    if size != row.size_bytes:
        raise ChecksumMismatch(
            f"The parts make {size:,} bytes together, {row.size_bytes:,} were announced."
        )
    if row.sha256 is not None and row.sha256 != sha256:
        raise ChecksumMismatch(
            f"The announced sha256 is {row.sha256}, the parts make {sha256} together."
        )


def _add_model(session: Session, row: UploadRow, *, sha256: str) -> str:
    model = new_model_row(
        row.organisation_id,
        row.pool_id,
        manifest_of(row),
        model_id=row.reserved_id,
        size=row.size_bytes,
        sha256=sha256,
    )
    add_model(session, model)
    return model.id


def reopen_upload(
    session: Session, upload_id: str, why: str, *, advice: str = "Complete the upload again."
) -> None:
    """assembling -> open: this side failed, so its client may complete it again."""
    soonest = utc_now() + ANOTHER_CHANCE
    session.execute(
        update(UploadRow)
        .where(UploadRow.id == upload_id, UploadRow.status == UploadStatus.ASSEMBLING)
        .values(
            status=UploadStatus.OPEN,
            reason=f"{why} {advice}",
            reason_code="assembly-failed",
            expires_at=case((UploadRow.expires_at < soonest, soonest), else_=UploadRow.expires_at),
        )
    )
