"""Join the parts of an upload, read them once to know what they are, and make the model.

Every step may be done twice: whoever takes the job over finds the parts, or the joined bytes, or
the upload's end.
"""

import hashlib
import logging

from sqlalchemy.exc import IntegrityError

from pool.database import jobs
from pool.database.upload_tables import UploadRow
from pool.domain import UPLOADS_UNDER_WAY, JobRun, JobStatus
from pool.storage.parts import PartStore, open_parts
from pool.storage.store import quarantine_key
from pool.usecases.assemble import reopen_upload, settle_upload, upload_to_assemble
from pool.usecases.uploads import plan_of, received_parts
from worker.context import JobContext

log = logging.getLogger(__name__)


def assemble_upload(context: JobContext, run: JobRun) -> None:
    """Decide about one upload; its parts are gone afterwards."""
    parts = open_parts(context.settings)
    with context.database.read() as session:
        upload = upload_to_assemble(session, run.subject_id)
    if upload is None:
        _finish(context, run)
    elif not _join(context, parts, upload):
        _hand_back(context, run)
    else:
        sha256, size = _measure(context, quarantine_key(upload.reserved_id))
        try:
            _finish(context, run, sha256=sha256, size=size)
        except IntegrityError:  # the same bytes became a model since they were looked for
            _finish(context, run, sha256=sha256, size=size)
    _clean_up(context, parts, run.subject_id)


def _join(context: JobContext, parts: PartStore, upload: UploadRow) -> bool:
    """Unless an earlier attempt did; False when the store has lost some parts."""
    key = quarantine_key(upload.reserved_id)
    if context.store.size(key) is not None:
        return True
    there = received_parts(parts, upload)
    if len(there) < plan_of(upload).n_parts:
        return False
    parts.assemble(key, upload.token, there)
    return True


def _hand_back(context: JobContext, run: JobRun) -> None:
    why = "The object store has lost some of its parts."
    with context.database.write() as session:
        reopen_upload(session, run.subject_id, why, advice="GET the upload and send them again.")
        jobs.finish(session, run, JobStatus.FAILED, error_code="parts-missing", error=why)


def _measure(context: JobContext, key: str) -> tuple[str, int]:
    """SHA-256 and size of the joined bytes, as the store gives them back."""
    digest, size = hashlib.sha256(), 0
    for block in context.store.blocks(key):
        context.check_stop()
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def _finish(context: JobContext, run: JobRun, *, sha256: str | None = None, size: int = 0) -> None:
    with context.database.write() as session:
        if sha256 is not None:
            settle_upload(session, run.subject_id, sha256=sha256, size=size)
        jobs.finish(session, run, JobStatus.SUCCEEDED)


def _clean_up(context: JobContext, parts: PartStore, upload_id: str) -> None:
    """Delete the parts, and the joined bytes if no model needs them."""
    with context.database.read() as session:
        upload = session.get_one(UploadRow, upload_id)
    log.info("upload assembled", extra={"code": upload.reason_code or upload.status})
    if upload.status in UPLOADS_UNDER_WAY:
        return
    key = quarantine_key(upload.reserved_id)
    parts.discard(key, upload.token)
    if upload.model_id != upload.reserved_id:
        context.store.delete(key)
