"""What those who follow jobs ask of SQL, for many jobs and many followers at once."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from pool.database.access_tables import PoolMemberRow
from pool.database.tables import ApiKeyRow, BuildRow, JobEventRow, JobRow, ModelRow
from pool.database.upload_tables import UploadRow
from pool.domain import FINAL_JOBS, utc_now
from pool.roles import Action, Role, may


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who follows a job, and by the right of which key."""

    job_id: str
    organisation_id: str
    secret_sha256: str


def still_permitted(session: Session, watches: Collection[Watch]) -> set[Watch]:
    """Of these watches those whose key still is valid and whose organisation still may see the job.

    A few queries, however many they are.
    """
    keys = _valid_keys(session, {watch.secret_sha256 for watch in watches})
    shown = _shown_jobs(
        session,
        {watch.job_id for watch in watches},
        {watch.organisation_id for watch in watches},
    )
    return {
        watch
        for watch in watches
        if watch.secret_sha256 in keys and (watch.organisation_id, watch.job_id) in shown
    }


def _valid_keys(session: Session, digests: Collection[str]) -> set[str]:
    now = utc_now()
    rows = session.scalars(
        select(ApiKeyRow).where(
            or_(ApiKeyRow.secret_sha256.in_(digests), ApiKeyRow.previous_sha256.in_(digests)),
            ApiKeyRow.revoked_at.is_(None),
            or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > now),
        )
    )
    valid: set[str] = set()
    for row in rows:
        valid.add(row.secret_sha256)
        if row.previous_sha256 is not None and row.previous_until is not None:
            valid |= {row.previous_sha256} if row.previous_until > now else set()
    return valid


def _shown_jobs(
    session: Session, job_ids: Collection[str], organisation_ids: Collection[str]
) -> set[tuple[str, str]]:
    """Pairs of organisation and job, of builds, of inspections and of uploads' assemblies."""
    roles: dict[tuple[str, str], set[Role]] = {}
    members = select(PoolMemberRow).where(PoolMemberRow.organisation_id.in_(organisation_ids))
    for member in session.scalars(members):
        roles.setdefault((member.organisation_id, member.pool_id), set()).add(Role(member.role))
    builds = select(BuildRow.job_id, BuildRow.pool_id).where(BuildRow.job_id.in_(job_ids))
    models = (
        select(JobRow.id, ModelRow.pool_id, ModelRow.organisation_id)
        .join(ModelRow, ModelRow.id == JobRow.subject_id)
        .where(JobRow.id.in_(job_ids))
    )
    uploads = (
        select(JobRow.id, UploadRow.pool_id, UploadRow.organisation_id)
        .join(UploadRow, UploadRow.id == JobRow.subject_id)
        .where(JobRow.id.in_(job_ids))
    )
    shown = {
        (owner, job_id)
        for query in (models, uploads)
        for job_id, _, owner in session.execute(query)
    }
    for query, action in (
        (builds, Action.SEE_BUILDS),
        (models.with_only_columns(JobRow.id, ModelRow.pool_id), Action.SEE_MODELS),
    ):
        for job_id, pool_id in session.execute(query):
            shown |= {
                (each, job_id)
                for each in organisation_ids
                if may(roles.get((each, pool_id), ()), action)
            }
    return shown


def job_of(session: Session, subject_id: str) -> str | None:
    """The id of the latest job about a model, a build or an upload."""
    return session.scalar(
        select(JobRow.id)
        .where(JobRow.subject_id == subject_id)
        .order_by(JobRow.created_at.desc())
        .limit(1)
    )
