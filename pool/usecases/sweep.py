"""Find what was abandoned: jobs whose process died, messages that got lost."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from pool.database import jobs
from pool.database.session import Database, send_after_commit
from pool.database.tables import JobRow, ModelRow
from pool.database.validation_tables import BuildValidationRow, forget_reservations
from pool.domain import FINAL_JOBS, JobKind, JobStatus, utc_now
from pool.storage.store import BUILD_STATES, QUARANTINE, ObjectStore, build_state_key
from pool.usecases import idempotency, quotas
from pool.usecases.assemble import reopen_upload
from pool.usecases.inspect import UNDER_INSPECTION, reject_model
from pool.usecases.resume import forget_state, state_is_needed
from pool.usecases.sweep_uploads import expire_uploads, forget_old_uploads, upload_is_over


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep found."""

    expired: int
    resent: int


def sweep(session: Session, *, resend_after_s: float, max_attempts: int) -> Swept:
    """Requeue or end running jobs whose lease ran out; send again messages that got lost."""
    expired = _with_expired_lease(session)
    for job in expired:
        abandon_job(session, job, max_attempts=max_attempts, why="The worker died")
    expire_uploads(session)
    waiting = _to_be_sent(session, after_s=resend_after_s)
    lost = [job for job in waiting if _mark_sent(session, job)]
    for job in lost:
        send_after_commit(session, job.id, job.kind)
    return Swept(expired=len(expired), resent=len(lost))


def abandon_job(
    session: Session,
    job: JobRow,
    *,
    max_attempts: int,
    why: str,
    code: str = "process-died",
    blameless: bool = False,
    outage: bool = False,
) -> None:
    """Requeue a job whose process is gone, or end it and say so on what it was for."""
    status = jobs.abandon(
        session,
        job,
        max_attempts=max_attempts,
        why=why,
        code=code,
        blameless=blameless,
        outage=outage,
    )
    if status is JobStatus.FAILED and job.kind == JobKind.ASSEMBLE:
        reopen_upload(session, job.subject_id, f"{why} {job.attempt} times in a row.")
    if status is JobStatus.FAILED and job.kind == JobKind.INSPECT:
        reject_model(
            session,
            job.subject_id,
            code="inspection-failed",
            reason=f"{why} while it looked at this checkpoint, {job.attempt} times in a row.",
            recipe="Upload it as .safetensors; if that fails too, tell the server's operator.",
        )


def _with_expired_lease(session: Session) -> list[JobRow]:
    """Running jobs that gave no sign of life in time."""
    return list(
        session.scalars(
            select(JobRow).where(JobRow.status == JobStatus.RUNNING, JobRow.lease_until < utc_now())
        )
    )


def _to_be_sent(session: Session, *, after_s: float) -> list[JobRow]:
    """Queued jobs that are due again, or have waited so long that their message may be lost.

    A message behind a long build is late, not lost: each further one waits twice as long.
    """
    now = utc_now()
    queued = session.scalars(
        select(JobRow).where(
            JobRow.status == JobStatus.QUEUED,
            or_(JobRow.not_before.is_(None), JobRow.not_before <= now),
            or_(JobRow.sent_at.is_(None), JobRow.sent_at < now - timedelta(seconds=after_s)),
        )
    )
    return [
        job
        for job in queued
        if job.sent_at is None or now - job.sent_at > job.sent_at - job.created_at
    ]


def _mark_sent(session: Session, job: JobRow) -> bool:
    """Note that a queued job's message leaves again; False when another sweep was faster."""
    marked = session.scalar(
        update(JobRow)
        .where(
            JobRow.id == job.id,
            JobRow.status == JobStatus.QUEUED,
            JobRow.sent_at.is_not_distinct_from(job.sent_at),
        )
        .values(sent_at=utc_now())
        .returning(JobRow.id)
    )
    return marked is not None


def sweep_leftovers(database: Database, store: ObjectStore, *, state_kept_s: float) -> int:
    """Delete originals, build states and validation sets that nobody needs; how many there were.

    An object in quarantine without a record is an upload under way, so it stays; what a resumable
    upload joined in vain goes. The state of a build that ended without a result stays for
    `state_kept_s` seconds, for whoever resumes it.
    """
    removed = 0
    for key in list(store.keys(QUARANTINE)):
        with database.read() as session:
            over = _inspection_is_over(session, key.split("/")[1])
        if over:
            store.delete(key)
            removed += 1
    for key in list(store.keys(BUILD_STATES)):
        removed += _swept_of_a_build(database, store, key, state_kept_s=state_kept_s)
    return removed


def _swept_of_a_build(
    database: Database, store: ObjectStore, key: str, *, state_kept_s: float
) -> bool:
    build_id = key.split("/")[1]
    with database.read() as session:
        if key != build_state_key(build_id):
            over = _build_is_over(session, build_id)
        else:
            over = not state_is_needed(session, build_id, kept_s=state_kept_s)
    if over:
        store.delete(key)
        with database.write() as session:
            forget_state(session, build_id)
    return over


def sweep_limits(session: Session) -> int:
    """Delete what expired: kept answers, old counts, ended uploads, orders that came to nothing."""
    return (
        idempotency.forget_expired(session)
        + quotas.forget_old_counts(session)
        + forget_old_uploads(session)
        + forget_reservations(session)
    )


def _inspection_is_over(session: Session, model_id: str) -> bool:
    status = session.scalar(select(ModelRow.status).where(ModelRow.id == model_id))
    if status is None:
        return upload_is_over(session, model_id)
    return status not in UNDER_INSPECTION


def _build_is_over(session: Session, build_id: str) -> bool:
    status = session.scalar(select(JobRow.status).where(JobRow.subject_id == build_id))
    if status is None:  # an order under way whose validation set is stored, or that came to nothing
        return session.get(BuildValidationRow, build_id) is None
    return status in FINAL_JOBS
