"""Where the records are found; every method asks on behalf of one organisation."""

from collections.abc import Sequence

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, lazyload, load_only

from pool.database.alias_tables import AliasRow
from pool.database.tables import (
    ApiKeyRow,
    BuildModelRow,
    BuildRow,
    JobRow,
    MetaLearnerRow,
    ModelRow,
    PoolRow,
)
from pool.database.upload_tables import UploadRow
from pool.database.visible import may_know, may_see, pools_of, require_role
from pool.domain import LIVE_MODELS, JobStatus, ModelStatus, utc_now
from pool.errors import (
    BuildNotFound,
    MetaLearnerNotFound,
    ModelNotFound,
    PoolNameAmbiguous,
    PoolNotFound,
    UploadNotFound,
)
from pool.roles import Action

AT = "@"
"""Between a pool and an alias; no id has it."""


def find_pool(
    session: Session, organisation_id: str, name_or_id: str, action: Action | None = None
) -> PoolRow:
    """The pool of this id, else of this name among those the organisation belongs to.

    A name that the organisation gave itself is its own pool's, whatever others call theirs.

    Raises:
        PoolNotFound: it belongs to none.
        PoolNameAmbiguous: several other organisations' pools have the name.
        RoleRequired: none of its roles there permits the action.
    """
    rows = session.scalars(
        select(PoolRow)
        .where(or_(PoolRow.id == name_or_id, PoolRow.name == name_or_id))
        .where(PoolRow.id.in_(pools_of(organisation_id)))
    ).all()
    by_id = [row for row in rows if row.id == name_or_id]
    own = [row for row in rows if row.organisation_id == organisation_id]
    found = by_id or own or rows
    if not found:
        raise PoolNotFound(f"There is no pool {name_or_id!r}; GET /v1/pools lists yours.")
    if len(found) > 1:
        raise PoolNameAmbiguous(
            f"{len(found)} pools of other organisations are named {name_or_id!r}; say which by its "
            "id, which GET /v1/pools shows."
        )
    if action is not None:
        require_role(session, organisation_id, found[0], action)
    return found[0]


def list_pools(session: Session, organisation_id: str) -> Sequence[PoolRow]:
    """All pools that the organisation belongs to, oldest first."""
    return session.scalars(
        select(PoolRow)
        .where(PoolRow.id.in_(pools_of(organisation_id)))
        .order_by(PoolRow.created_at, PoolRow.id)
    ).all()


def find_model(
    session: Session, organisation_id: str, model_id: str, *, lock: bool = False
) -> ModelRow:
    """One pool model; locked, nobody else changes it before this transaction ends.

    Raises:
        ModelNotFound: the organisation may know of none of this id.
        RoleRequired: it is another member's, and no role of the organisation's shows it.
    """
    query = select(ModelRow).where(ModelRow.id == model_id, may_know(ModelRow, organisation_id))
    row = session.scalar(query.with_for_update(of=ModelRow) if lock else query)
    if row is None:
        raise ModelNotFound("There is no model of this id; GET /v1/models lists yours.")
    if row.organisation_id != organisation_id:
        require_role(session, organisation_id, row.pool, Action.SEE_MODELS)
    return row


def find_live_model_by_bytes(session: Session, pool_id: str, sha256: str) -> ModelRow | None:
    """The model in this pool that was uploaded as exactly these bytes and is still there."""
    return session.scalar(
        select(ModelRow).where(
            ModelRow.pool_id == pool_id,
            ModelRow.sha256 == sha256,
            ModelRow.status.in_(LIVE_MODELS),
        )
    )


def find_upload(session: Session, organisation_id: str, upload_id: str) -> UploadRow:
    """One resumable upload; other members of its pool know nothing of it.

    Raises:
        UploadNotFound: the organisation has none of this id.
    """
    row = session.scalar(
        select(UploadRow).where(
            UploadRow.organisation_id == organisation_id, UploadRow.id == upload_id
        )
    )
    if row is None:
        raise UploadNotFound("There is no upload of this id; GET /v1/uploads lists yours.")
    return row


def ready_models(session: Session, pool_id: str, *, most: int, start: str) -> Sequence[ModelRow]:
    """What a build over the pool would use: all, or `most` of more, in a fixed order.

    Those are the ones that follow `start` (64 hexadecimal digits) in the order of their weights'
    SHA-256, and after the last the first: a draw that an index makes, however large the pool.
    Locked against withdrawal: whoever withdraws one of them waits, then finds the build. Of each
    only what a snapshot and a validation set ask for is loaded.
    """
    ready = (ModelRow.pool_id == pool_id, ModelRow.status == ModelStatus.READY)
    content = (ModelRow.canonical_sha256, ModelRow.id)
    one_more = select(ModelRow.id).where(*ready).order_by(*content).offset(most).limit(1)
    query = (
        select(ModelRow)
        .where(*ready)
        .order_by(*content)
        .limit(most)
        .options(load_only(*content, ModelRow.image_size, ModelRow.channels))
        .options(lazyload(ModelRow.pool))
        .with_for_update(read=True, of=ModelRow)
    )
    if session.scalar(one_more) is None:
        return session.scalars(query).all()
    drawn = list(session.scalars(query.where(ModelRow.canonical_sha256 >= start)))
    if len(drawn) < most:
        before = query.where(ModelRow.canonical_sha256 < start)
        drawn += session.scalars(before.limit(most - len(drawn)))
    return drawn


def count_models(session: Session, pool_id: str) -> dict[ModelStatus, int]:
    """How many models the pool has in each state."""
    rows = session.execute(
        select(ModelRow.status, func.count())
        .where(ModelRow.pool_id == pool_id)
        .group_by(ModelRow.status)
    )
    return {ModelStatus(status): count for status, count in rows}


def find_build(session: Session, organisation_id: str, build_id: str) -> BuildRow:
    """One build with its job.

    Raises:
        BuildNotFound: the organisation belongs to no pool with one of this id.
        RoleRequired: no role of the organisation's shows it.
    """
    row = session.scalar(
        select(BuildRow).where(BuildRow.id == build_id, may_know(BuildRow, organisation_id))
    )
    if row is None:
        raise BuildNotFound("There is no build of this id; GET /v1/builds lists yours.")
    require_role(session, organisation_id, row.pool, Action.SEE_BUILDS)
    return row


def find_meta_learner(
    session: Session,
    organisation_id: str,
    meta_learner_id: str,
    action: Action = Action.SEE_META_LEARNERS,
) -> MetaLearnerRow:
    """The meta-learner of this id, or the one at which an alias, `pool@alias`, points now.

    Raises:
        MetaLearnerNotFound: the organisation belongs to no pool with one of this id or alias.
        RoleRequired: none of its roles there permits the action.
    """
    if AT in meta_learner_id:
        meta_learner_id = _pointed_at(session, organisation_id, meta_learner_id, action)
    row = session.scalar(
        select(MetaLearnerRow).where(
            MetaLearnerRow.id == meta_learner_id, may_know(MetaLearnerRow, organisation_id)
        )
    )
    if row is None:
        raise MetaLearnerNotFound(
            "There is no meta-learner of this id; GET /v1/meta-learners lists yours."
        )
    require_role(session, organisation_id, row.pool, action)
    return row


def _pointed_at(session: Session, organisation_id: str, words: str, action: Action) -> str:
    pool_name, _, name = words.rpartition(AT)
    try:
        pool = find_pool(session, organisation_id, pool_name, action)
    except (PoolNotFound, PoolNameAmbiguous) as error:
        raise MetaLearnerNotFound(error.message) from error
    found = session.scalar(
        select(AliasRow.meta_learner_id).where(AliasRow.pool_id == pool.id, AliasRow.name == name)
    )
    if found is None:
        raise MetaLearnerNotFound(
            f"No alias {name!r} of pool {pool_name!r} points at a meta-learner; "
            "GET /v1/pools/{pool}/aliases lists them."
        )
    return found


def meta_learners_learnt_from(session: Session, model_id: str) -> Sequence[MetaLearnerRow]:
    """The meta-learners whose build's snapshot holds the model."""
    return session.scalars(
        select(MetaLearnerRow)
        .join(BuildModelRow, BuildModelRow.build_id == MetaLearnerRow.build_id)
        .where(BuildModelRow.model_id == model_id)
    ).all()


def snapshot_shown_to(session: Session, organisation_id: str, build_id: str) -> list[str]:
    """Of the models in a build's snapshot those that the organisation may see, in order."""
    return list(
        session.scalars(
            select(ModelRow.id)
            .join(BuildModelRow, BuildModelRow.model_id == ModelRow.id)
            .where(BuildModelRow.build_id == build_id, may_see(ModelRow, organisation_id))
            .order_by(BuildModelRow.position)
        )
    )


def unfinished_builds_over(session: Session, model_id: str) -> Sequence[BuildRow]:
    """Queued and running builds whose snapshot holds the model."""
    return session.scalars(
        select(BuildRow)
        .join(BuildModelRow, BuildModelRow.build_id == BuildRow.id)
        .join(JobRow, JobRow.id == BuildRow.job_id)
        .where(
            BuildModelRow.model_id == model_id,
            JobRow.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)),
        )
    ).all()


def find_key(session: Session, secret_sha256: str) -> ApiKeyRow | None:
    """The API key with this hash, whatever its state, or with it until its rotation counts."""
    before = and_(ApiKeyRow.previous_sha256 == secret_sha256, ApiKeyRow.previous_until > utc_now())
    return session.scalar(
        select(ApiKeyRow).where(or_(ApiKeyRow.secret_sha256 == secret_sha256, before))
    )


def list_keys(session: Session, organisation_id: str) -> Sequence[ApiKeyRow]:
    """All keys of the organisation, oldest first."""
    return session.scalars(
        select(ApiKeyRow)
        .where(ApiKeyRow.organisation_id == organisation_id)
        .order_by(ApiKeyRow.created_at, ApiKeyRow.id)
    ).all()
