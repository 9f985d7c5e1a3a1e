"""Request, follow and cancel builds."""

import hashlib
import secrets
from collections.abc import Sequence

from sqlalchemy.orm import Session

from pool.database import audit, jobs, repository
from pool.database.audit import Act
from pool.database.tables import BuildModelRow, BuildRow, MetaLearnerRow, ModelRow, PoolRow
from pool.database.visible import require_role
from pool.domain import JobKind, ModelStatus, Recipe, new_id
from pool.errors import BuildFinished, NoUsableModels
from pool.roles import Action

MIN_MODELS = 2
"""Meta-learning needs more than one task; FREE aligns gradients between teachers."""
MOST_MODELS = 1000
"""Of a larger pool, an order that names none is over so many, drawn by its seed."""


def start_build(
    session: Session,
    organisation_id: str,
    *,
    pool_name: str,
    recipe: Recipe,
    model_ids: Sequence[str] | None,
    seed: int | None,
    build_id: str | None = None,
) -> BuildRow:
    """Queue a build over a snapshot of the pool's ready models, or of those named.

    Of a pool with more than MOST_MODELS ready models the seed draws so many: the same seed over the
    same models draws the same ones. The recipe has been checked by then. `build_id` is for whom
    something waits already.

    Raises:
        PoolNotFound, PoolNameAmbiguous, ModelNotFound: the organisation cannot mean it.
        RoleRequired: it is no builder of the pool.
        NoUsableModels: fewer than two models are ready; the message counts the others.
    """
    seed = new_seed() if seed is None else seed
    pool, models = usable_models(session, organisation_id, pool_name, model_ids, seed=seed)
    build = BuildRow(
        id=build_id or new_id("bld"),
        organisation_id=organisation_id,
        pool_id=pool.id,
        pool=pool,
        algorithm=recipe.algorithm,
        config=recipe.config,
        seed=seed,
    )
    build.job = jobs.create(session, JobKind.BUILD, build.id)
    build.snapshot = [
        BuildModelRow(
            position=position, model_id=model.id, canonical_sha256=model.canonical_sha256 or ""
        )
        for position, model in enumerate(_in_order_of_content(models))
    ]
    session.add(build)
    session.flush()
    record_build(session, Act.BUILD_REQUESTED, build)
    return build


def new_seed() -> int:
    """For an order that names none."""
    return secrets.randbelow(2**31)


def usable_models(
    session: Session,
    organisation_id: str,
    pool_name: str,
    model_ids: Sequence[str] | None,
    *,
    seed: int,
) -> tuple[PoolRow, Sequence[ModelRow]]:
    """What an order is over.

    Raises:
        PoolNotFound, PoolNameAmbiguous, RoleRequired, ModelNotFound, NoUsableModels: as
            start_build.
    """
    pool = repository.find_pool(session, organisation_id, pool_name, Action.BUILD)
    return pool, _choose_models(session, organisation_id, pool, model_ids, seed=seed)


def _in_order_of_content(models: Sequence[ModelRow]) -> Sequence[ModelRow]:
    """So that a seed and a set of models give one meta-learner, whoever uploaded first."""
    return sorted(models, key=lambda model: (model.canonical_sha256 or "", model.id))


def _choose_models(
    session: Session,
    organisation_id: str,
    pool: PoolRow,
    model_ids: Sequence[str] | None,
    *,
    seed: int,
) -> Sequence[ModelRow]:
    if model_ids is None:
        start = hashlib.sha256(str(seed).encode()).hexdigest()
        models = repository.ready_models(session, pool.id, most=MOST_MODELS, start=start)
    else:
        wanted = dict.fromkeys(model_ids)
        models = [
            repository.find_model(session, organisation_id, each, lock=True) for each in wanted
        ]
        unusable = [
            f"{model.id} is {model.status}"
            if model.pool_id == pool.id
            else f"{model.id} is in another pool"
            for model in models
            if model.status != ModelStatus.READY or model.pool_id != pool.id
        ]
        if unusable:
            raise NoUsableModels(
                f"Not every model named can be used: {'; '.join(unusable[:10])}. "
                "Name only ready models of the pool."
            )
    if len(models) >= MIN_MODELS:
        return models
    counts = repository.count_models(session, pool.id)
    waiting = counts.get(ModelStatus.RECEIVED, 0) + counts.get(ModelStatus.INSPECTING, 0)
    raise NoUsableModels(
        f"A build needs at least {MIN_MODELS} ready models; pool {pool.name!r} offers "
        f"{len(models)} ({waiting} awaiting inspection, "
        f"{counts.get(ModelStatus.REJECTED, 0)} rejected). Upload more models, or wait for the "
        "inspections and look at GET /v1/models for the reasons of rejections."
    )


def cancel_build(session: Session, organisation_id: str, build_id: str) -> BuildRow:
    """End a build that is queued or running, at once; what its process still does is in vain.

    Raises:
        BuildNotFound: no such build.
        RoleRequired: the organisation is no builder, or the build is another member's.
        BuildFinished: it has already ended.
    """
    build = repository.find_build(session, organisation_id, build_id)
    own = build.organisation_id == organisation_id
    require_role(session, organisation_id, build.pool, Action.BUILD if own else Action.CURATE)
    if not jobs.cancel(session, build.job_id):
        session.refresh(build.job)
        raise BuildFinished(f"The build has already {build.job.status}; nothing was changed.")
    session.refresh(build.job)
    record_build(session, Act.BUILD_CANCELED, build)
    return build


def record_meta_learner(session: Session, build: BuildRow, row: MetaLearnerRow) -> MetaLearnerRow:
    """Keep what a build delivered, linked both ways."""
    session.add(row)
    session.flush()
    build.meta_learner_id = row.id
    audit.record(
        session,
        Act.META_LEARNER_DELIVERED,
        row.id,
        pool_id=row.pool_id,
        organisation_id=row.organisation_id,
        detail=row.sha256,
    )
    return row


def record_build(session: Session, act: Act, build: BuildRow) -> None:
    """Note for the audit trail what happened to a build."""
    audit.record(
        session,
        act,
        build.id,
        pool_id=build.pool_id,
        organisation_id=build.organisation_id,
        detail=build.algorithm,
    )
