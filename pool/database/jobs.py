"""Every transition of a job, each a compare-and-swap that only one process can win."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, false, func, or_, select, update
from sqlalchemy.orm import Session

from pool.database import audit
from pool.database.session import send_after_commit
from pool.database.tables import JobEventRow, JobRow
from pool.database.validation_tables import forget_key
from pool.domain import FINAL_JOBS, JobKind, JobRun, JobStatus, new_id, utc_now
from pool.errors import LeaseLost

BACK_OFF_S = (0.0, 5.0, 20.0, 60.0)
"""How long a job waits after its first, second, ... attempt died."""
OUTAGE_ATTEMPTS = 3
"""As which attempt an outage counts at most: it ends no job, and is not asked all the time."""


def create(session: Session, kind: JobKind, subject_id: str) -> JobRow:
    """A queued job, whose message leaves after the commit."""
    job = JobRow(id=new_id("job"), kind=kind, subject_id=subject_id, sent_at=utc_now())
    session.add(job)
    session.flush()
    send_after_commit(session, job.id, kind)
    return job


def claim(session: Session, job_id: str, *, holder: str, lease_s: float) -> JobRun | None:
    """queued -> running, for one caller only; None for everyone else."""
    now = utc_now()
    row = session.execute(
        update(JobRow)
        .where(
            JobRow.id == job_id,
            JobRow.status == JobStatus.QUEUED,
            or_(JobRow.not_before.is_(None), JobRow.not_before <= now),
        )
        .values(
            status=JobStatus.RUNNING,
            holder=holder,
            attempt=JobRow.attempt + 1,
            lease_until=now + timedelta(seconds=lease_s),
            started_at=func.coalesce(JobRow.started_at, now),
        )
        .returning(JobRow.kind, JobRow.subject_id, JobRow.attempt)
    ).one_or_none()
    if row is None:
        return None
    return JobRun(
        job_id=job_id, kind=JobKind(row[0]), subject_id=row[1], attempt=row[2], holder=holder
    )


def next_queued(session: Session, kind: JobKind) -> str | None:
    """The id of the job of this kind that has waited longest."""
    return session.scalar(
        select(JobRow.id)
        .where(
            JobRow.kind == kind,
            JobRow.status == JobStatus.QUEUED,
            or_(JobRow.not_before.is_(None), JobRow.not_before <= utc_now()),
        )
        .order_by(JobRow.created_at)
        .limit(1)
    )


def renew(session: Session, holder: str, *, lease_s: float) -> int:
    """Extend the leases of a run's jobs; how many it still holds."""
    result = session.execute(
        update(JobRow)
        .where(JobRow.holder == holder, JobRow.status == JobStatus.RUNNING)
        .values(lease_until=utc_now() + timedelta(seconds=lease_s))
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


def is_canceled(session: Session, job_id: str) -> bool:
    """Whether somebody canceled the job."""
    return bool(session.scalar(select(JobRow.cancel_requested).where(JobRow.id == job_id)))


def record(
    session: Session,
    run: JobRun,
    kind: str,
    payload: Mapping[str, Any],
    *,
    progress: float | None = None,
    eta_s: float | None = None,
    stage: str | None = None,
) -> None:
    """Append an event to the job's story and move its progress on.

    Raises:
        LeaseLost: another run holds the job by now; nothing was written.
    """
    values: dict[str, Any] = {"holder": run.holder}
    if progress is not None:
        values |= {"progress": progress, "eta_s": eta_s}
    if stage is not None:
        values["stage"] = stage
    _fenced(session, run, values)
    _append_event(session, run.job_id, kind, payload)


def reset_attempts(session: Session, run: JobRun) -> None:
    """The run saved its state: a crash from here on is not the same crash again."""
    _fenced(session, run, {"attempt": 1})


def finish(
    session: Session,
    run: JobRun,
    status: JobStatus,
    *,
    error_code: str | None = None,
    error: str | None = None,
) -> None:
    """running -> one of the final states.

    A job that is to stop (as an API of an older release says it) does not succeed any more:
    whoever withdrew a model of a build counts on it.

    Raises:
        LeaseLost: another run holds the job by now, or it was canceled; nothing was written.
    """
    values: dict[str, Any] = {
        "status": status,
        "holder": None,
        "lease_until": None,
        "eta_s": None,
        "finished_at": utc_now(),
        "error_code": error_code,
        "error": error,
    }
    if status is JobStatus.SUCCEEDED:
        values["progress"] = 1.0
    unwanted = JobRow.cancel_requested if status is JobStatus.SUCCEEDED else false()
    _fenced(session, run, values, ~unwanted)
    _append_event(session, run.job_id, "status", {"status": status, "error": error})


def cancel(session: Session, job_id: str) -> bool:
    """queued or running -> canceled, at once; False if it had ended.

    Nobody waits for the job's process, which may hang, be cut off or be dead together with its
    worker: it can write nothing any more, and its supervisor stops it within seconds.
    """
    won = session.scalar(
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)))
        .values(
            status=JobStatus.CANCELED,
            holder=None,
            lease_until=None,
            eta_s=None,
            finished_at=utc_now(),
            cancel_requested=True,
        )
        .returning(JobRow.id)
    )
    if won is not None:
        _append_event(session, job_id, "status", {"status": JobStatus.CANCELED, "error": None})
    return won is not None


def abandon(
    session: Session,
    job: JobRow,
    *,
    max_attempts: int,
    why: str,
    code: str = "process-died",
    blameless: bool = False,
    outage: bool = False,
) -> JobStatus | None:
    """What becomes of a running job whose process is gone: canceled, failed or queued again.

    The first new attempt starts at once, further ones wait longer and longer. A blameless end (its
    worker was asked to stop) does not count as an attempt; an outage of what the job needs delays
    it, and never ends it.

    Returns:
        The new status; None when somebody else decided first.
    """
    now = utc_now()
    values: dict[str, Any] = {"holder": None, "lease_until": None, "eta_s": None}
    if job.cancel_requested:
        values |= {"status": JobStatus.CANCELED, "finished_at": now}
    elif job.attempt >= max_attempts and not (blameless or outage):
        error = f"{why} {job.attempt} times in a row; the operator's log has the cause."
        values |= {
            "status": JobStatus.FAILED,
            "finished_at": now,
            "error_code": code,
            "error": error,
        }
    else:
        attempt = min(job.attempt, OUTAGE_ATTEMPTS) if outage else job.attempt - blameless
        wait_s = 0.0 if blameless else BACK_OFF_S[min(attempt, len(BACK_OFF_S)) - 1]
        values |= {
            "status": JobStatus.QUEUED,
            "attempt": attempt,
            "not_before": now + timedelta(seconds=wait_s),
            "sent_at": None if wait_s else now,
        }
    won = session.execute(
        update(JobRow)
        .where(
            JobRow.id == job.id,
            JobRow.status == JobStatus.RUNNING,
            JobRow.holder == job.holder,
            JobRow.lease_until == job.lease_until,  # it may have been renewed since it was read
            JobRow.cancel_requested == job.cancel_requested,
        )
        .values(**values)
        .returning(JobRow.id)
    ).one_or_none()
    if won is None:
        return None
    status: JobStatus = values["status"]
    _append_event(session, job.id, "status", {"status": status, "error": values.get("error", why)})
    if values.get("sent_at"):
        send_after_commit(session, job.id, job.kind)
    return status


def held_by(session: Session, holder: str) -> list[JobRow]:
    """The running jobs of one run."""
    return list(
        session.scalars(
            select(JobRow).where(JobRow.holder == holder, JobRow.status == JobStatus.RUNNING)
        )
    )


def holders(session: Session) -> set[str]:
    """The runs that hold a job."""
    held = select(JobRow.holder).where(
        JobRow.status == JobStatus.RUNNING, JobRow.holder.is_not(None)
    )
    return {holder for holder in session.scalars(held) if holder is not None}


def events_after(session: Session, job_id: str, seq: int, *, limit: int) -> list[JobEventRow]:
    """The job's events with a higher sequence number, in order."""
    return list(
        session.scalars(
            select(JobEventRow)
            .where(JobEventRow.job_id == job_id, JobEventRow.seq > seq)
            .order_by(JobEventRow.seq)
            .limit(limit)
        )
    )


def _fenced(
    session: Session, run: JobRun, values: Mapping[str, Any], *where: ColumnElement[bool]
) -> None:
    won = session.execute(
        update(JobRow)
        .where(
            JobRow.id == run.job_id,
            JobRow.status == JobStatus.RUNNING,
            JobRow.holder == run.holder,
            *where,
        )
        .values(**values)
        .returning(JobRow.id)
    ).one_or_none()
    if won is None:
        raise LeaseLost(f"run {run.holder} no longer holds job {run.job_id}")


def _append_event(session: Session, job_id: str, kind: str, payload: Mapping[str, Any]) -> None:
    last = session.scalar(select(func.max(JobEventRow.seq)).where(JobEventRow.job_id == job_id))
    session.add(JobEventRow(job_id=job_id, seq=(last or 0) + 1, kind=kind, payload=dict(payload)))
    session.flush()
    if kind == "status" and payload["status"] in FINAL_JOBS:
        forget_key(session, job_id)
        audit.record_end_of_build(session, job_id, payload["status"])
