"""Go on with a build that was canceled or failed, from the state that it saved last.

A job ends once, so this is another build, over the same snapshot, by the same recipe and seed: it
begins where the other stood and delivers what that one would have (docs/adr/0014).
"""

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pool.database import jobs, repository
from pool.database.audit import Act
from pool.database.tables import BuildModelRow, BuildRow, JobRow, ModelRow
from pool.database.visible import require_role
from pool.domain import FINAL_JOBS, JobKind, JobStatus, ModelStatus, new_id, utc_now
from pool.errors import BuildNotResumable
from pool.roles import Action
from pool.storage.store import ObjectStore, build_state_key
from pool.usecases.build import record_build, usable_models

RESUMABLE = (JobStatus.CANCELED, JobStatus.FAILED)
FURTHEST = 100
"""Builds to look back through, each resumed from the one before and ended before it saved."""


def resume_build(
    session: Session, store: ObjectStore, organisation_id: str, build_id: str
) -> BuildRow:
    """Queue a build that goes on where another stopped.

    Raises:
        BuildNotFound: no such build.
        RoleRequired: the organisation is no builder of its pool.
        BuildNotResumable: it has not ended, or has delivered, or nothing of it is saved any more.
        NoUsableModels: a model of its snapshot is not there any more.
        StorageUnavailable: the store does not say whether its state is there.
    """
    ended = repository.find_build(session, organisation_id, build_id)
    require_role(session, organisation_id, ended.pool, Action.BUILD)
    if ended.job.status not in RESUMABLE:
        raise BuildNotResumable(
            f"The build is {ended.job.status}; only one that was canceled or failed is resumed."
        )
    saved = _with_a_state(session, store, ended)
    ids = [each.model_id for each in ended.snapshot]
    usable_models(session, organisation_id, ended.pool_id, ids, seed=ended.seed)
    build = BuildRow(
        id=new_id("bld"),
        organisation_id=organisation_id,
        pool_id=ended.pool_id,
        pool=ended.pool,
        algorithm=ended.algorithm,
        config=ended.config,
        seed=ended.seed,
        resumed_from=saved.id,
        saved_at=saved.saved_at,
    )
    build.job = jobs.create(session, JobKind.BUILD, build.id)
    build.snapshot = [
        BuildModelRow(
            position=each.position,
            model_id=each.model_id,
            canonical_sha256=each.canonical_sha256,
        )
        for each in ended.snapshot
    ]
    session.add(build)
    session.flush()
    record_build(session, Act.BUILD_REQUESTED, build)
    return build


def _with_a_state(session: Session, store: ObjectStore, ended: BuildRow) -> BuildRow:
    """The build itself if it saved its state, else the one that it had been resumed from."""
    build: BuildRow | None = ended
    for _ in range(FURTHEST):
        if build is None:
            break
        if store.size(build_state_key(build.id)) is not None:
            return build
        build = session.get(BuildRow, build.resumed_from) if build.resumed_from else None
    raise BuildNotResumable(
        "Nothing of this build is saved: it ended before it had saved its state, or that is kept "
        "no longer. Order another with its recipe, seed and models (POST /v1/builds)."
    )


def note_saved(session: Session, build_id: str) -> None:
    """A build has a saved state from now on."""
    session.execute(update(BuildRow).where(BuildRow.id == build_id).values(saved_at=utc_now()))


def state_is_needed(session: Session, build_id: str, *, kept_s: float) -> bool:
    """Whether a build's saved state may still be resumed from.

    By its own next run; by a build under way that was resumed from it; by whoever resumes it within
    `kept_s` seconds of its end. Not once a model that it learnt from was withdrawn.
    """
    job = session.scalar(select(JobRow).where(JobRow.subject_id == build_id))
    if job is None:
        return False
    if job.status not in FINAL_JOBS or _is_resumed_now(session, build_id):
        return True
    if job.status not in RESUMABLE or job.finished_at is None:
        return False
    kept_until = job.finished_at + timedelta(seconds=kept_s)
    return utc_now() < kept_until and not _has_lost_a_model(session, build_id)


def forget_state(session: Session, build_id: str) -> None:
    """Its state is deleted."""
    session.execute(update(BuildRow).where(BuildRow.id == build_id).values(saved_at=None))


def _is_resumed_now(session: Session, build_id: str) -> bool:
    heirs = (
        select(BuildRow.id)
        .join(JobRow, JobRow.id == BuildRow.job_id)
        .where(BuildRow.resumed_from == build_id, JobRow.status.not_in(FINAL_JOBS))
        .limit(1)
    )
    return session.scalar(heirs) is not None


def _has_lost_a_model(session: Session, build_id: str) -> bool:
    lost = (
        select(ModelRow.id)
        .join(BuildModelRow, BuildModelRow.model_id == ModelRow.id)
        .where(BuildModelRow.build_id == build_id, ModelRow.status != ModelStatus.READY)
        .limit(1)
    )
    return session.scalar(lost) is not None
