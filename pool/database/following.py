"""What those who follow jobs ask of SQL, for many jobs at once."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pool.database.tables import JobEventRow, JobRow
from pool.domain import FINAL_JOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a job's story has been told, and whether it goes on."""

    last_seq: int
    over: bool


def standings(session: Session, job_ids: Iterable[str]) -> dict[str, Standing]:
    """Where these jobs stand; one that does not exist is left out.

    A job that is over has told everything: its last event is written with its status.
    """
    last_seq = (
        select(func.max(JobEventRow.seq)).where(JobEventRow.job_id == JobRow.id).scalar_subquery()
    )
    rows = session.execute(
        select(JobRow.id, JobRow.status, last_seq).where(JobRow.id.in_(list(job_ids)))
    )
    return {
        job_id: Standing(last_seq=seq or 0, over=status in FINAL_JOBS)
        for job_id, status, seq in rows
    }


def job_of(session: Session, subject_id: str) -> str | None:
    """The id of the latest job about a model or a build."""
    return session.scalar(
        select(JobRow.id)
        .where(JobRow.subject_id == subject_id)
        .order_by(JobRow.created_at.desc())
        .limit(1)
    )
