"""Find what uploads left behind: those that nobody completed, and parts of those that ended."""

from datetime import timedelta

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from pool.database.session import Database
from pool.database.upload_tables import UploadRow
from pool.domain import UPLOADS_UNDER_WAY, UploadStatus, utc_now
from pool.storage.parts import PartStore, Unfinished

UNKNOWN_FOR = timedelta(days=1)
"""Parts of no upload may belong to one whose record is being written, or to a large one-shot
upload under way; after a day they belong to none that lives."""
RECORDS_KEPT = timedelta(days=31)


def expire_uploads(session: Session) -> int:
    """open -> expired, for what nobody completed in time; how many there were."""
    result = session.execute(
        update(UploadRow)
        .where(UploadRow.status == UploadStatus.OPEN, UploadRow.expires_at <= utc_now())
        .values(status=UploadStatus.EXPIRED, updated_at=utc_now())
    )
    assert isinstance(result, CursorResult)
    return result.rowcount


def forget_old_uploads(session: Session) -> int:
    """Delete the records of uploads that ended long ago; how many there were."""
    result = session.execute(
        delete(UploadRow).where(
            UploadRow.status.not_in(UPLOADS_UNDER_WAY),
            UploadRow.updated_at < utc_now() - RECORDS_KEPT,
        )
    )
    assert isinstance(result, CursorResult)
    return result.rowcount


def sweep_parts(database: Database, parts: PartStore) -> int:
    """Delete the parts that no upload under way waits for; how many uploads had some."""
    removed = 0
    for left in parts.unfinished():
        with database.read() as session:
            wanted = _is_wanted(session, left)
        if not wanted:
            parts.discard(left.key, left.token)
            removed += 1
    return removed


def _is_wanted(session: Session, left: Unfinished) -> bool:
    status = session.scalar(select(UploadRow.status).where(UploadRow.token == left.token))
    if status is None:
        return left.begun_at > utc_now() - UNKNOWN_FOR
    return status in UPLOADS_UNDER_WAY


def upload_is_over(session: Session, model_id: str) -> bool:
    """Whether bytes that are no model's were joined for an upload that has ended without it."""
    status = session.scalar(select(UploadRow.status).where(UploadRow.reserved_id == model_id))
    return status is not None and status not in UPLOADS_UNDER_WAY
