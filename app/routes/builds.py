"""Builds: request a meta-learner, follow it, cancel it."""

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from app.build_form import BODY, BuildForm, RecipeIn, form_digest, read_build_form
from app.deps import (
    BuildReader,
    BuildWriter,
    DatabaseDep,
    InferenceDep,
    SessionDep,
    SettingsDep,
    StoreDep,
)
from app.errors import CREATES, responses
from app.idempotency import Once, once_for
from app.paging import Cursor, Limit, decode_cursor, encode_cursor
from app.recipes import check_recipe
from app.threads import ThreadedRoute
from app.waiting import wait_for_build
from pool import errors
from pool.database import repository
from pool.database.paging import page
from pool.database.tables import BuildRow
from pool.domain import Caller, JobStatus, Recipe, Scope
from pool.settings import Settings
from pool.usecases.build import cancel_build, new_seed, start_build
from pool.usecases.quotas import Quotas, check_build
from pool.usecases.resume import resume_build
from pool.usecases.validation import SealedSet, hand_over, largest_images, store_sealed


@dataclass(frozen=True, slots=True)
class Adapters:
    """What an order with a validation set passes through."""

    database: DatabaseDep
    store: StoreDep
    inference: InferenceDep


router = APIRouter(prefix="/v1/builds", tags=["builds"], route_class=ThreadedRoute)


class BuildOut(BaseModel):
    """A build as a record."""

    id: str
    pool: str
    status: JobStatus
    recipe: RecipeIn
    seed: int
    n_models: int
    progress: float = Field(description="0 to 1, by estimated work.")
    stage: str | None
    eta_s: float | None
    meta_learner_id: str | None
    resumed_from: str | None = Field(description="The build that it goes on with.")
    saved_at: datetime | None = Field(
        description="When its state was last saved. Canceled or failed, it can be resumed from it."
    )
    error: str | None
    error_code: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, row: BuildRow) -> Self:
        """The record's public side."""
        job = row.job
        return cls(
            id=row.id,
            pool=row.pool.name,
            status=job.status,
            recipe=RecipeIn(algorithm=row.algorithm, config=row.config),
            seed=row.seed,
            n_models=row.n_models,
            progress=job.progress,
            stage=job.stage,
            eta_s=job.eta_s,
            meta_learner_id=row.meta_learner_id,
            resumed_from=row.resumed_from,
            saved_at=row.saved_at,
            error=job.error,
            error_code=job.error_code,
            created_at=row.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


class BuildPage(BaseModel):
    """Some of the builds, newest first."""

    items: list[BuildOut]
    next_cursor: str | None


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    responses=responses(
        errors.PoolNotFound,
        errors.PoolNameAmbiguous,
        errors.RoleRequired,
        errors.ModelNotFound,
        errors.NoUsableModels,
        errors.InvalidRecipe,
        errors.QuotaExceeded,
        errors.StorageUnavailable,
        errors.StorageFull,
        *CREATES,
    ),
    openapi_extra=BODY,
)
def create_build(
    form: Annotated[BuildForm, Depends(read_build_form)],
    once: Annotated[Once, once_for(Scope.BUILDS_WRITE, digest=form_digest)],
    session: SessionDep,
    caller: BuildWriter,
    settings: SettingsDep,
    adapters: Annotated[Adapters, Depends()],
) -> BuildOut:
    """Queue a meta-learner build over a snapshot of the pool; follow it at its record.

    Of a pool with more than 1,000 ready models the seed draws 1,000; name models to choose them.
    Sent as a form with labelled images, its report estimates accuracy on them; they are deleted
    when the build ends.
    """
    order = form.order
    recipe = check_recipe(Recipe(algorithm=order.recipe.algorithm, config=order.recipe.config))
    seed = new_seed() if order.seed is None else order.seed
    waiting = (
        _store_validation(form, caller, settings, adapters, seed=seed) if form.images else None
    )
    check_build(session, caller.organisation_id, Quotas.of_deployment(settings))
    build = start_build(
        session,
        caller.organisation_id,
        pool_name=order.pool,
        recipe=recipe,
        model_ids=order.models,
        seed=seed,
        build_id=waiting.build_id if waiting else None,
    )
    if waiting is not None:
        hand_over(session, waiting)
    return once.keep(session, BuildOut.of(build))


def _store_validation(
    form: BuildForm, caller: Caller, settings: Settings, adapters: Adapters, *, seed: int
) -> SealedSet:
    """Small pictures and numbers, sealed, before the build exists; in transactions of their own."""
    order, organisation_id = form.order, caller.organisation_id
    with adapters.database.write() as session:
        check_build(session, organisation_id, Quotas.of_deployment(settings))
        side, channels = largest_images(
            session, organisation_id, pool_name=order.pool, model_ids=order.models, seed=seed
        )
    packed = adapters.inference.pack(form.images, form.labels, side=side, channels=channels)
    return store_sealed(adapters.database, adapters.store, packed, n_images=len(form.images))


@router.get("", responses=responses())
def list_builds(
    session: SessionDep, caller: BuildReader, limit: Limit = 50, cursor: Cursor = None
) -> BuildPage:
    """The builds that your roles show, newest first."""
    rows, position = page(
        session, BuildRow, caller.organisation_id, after=decode_cursor(cursor), limit=limit
    )
    return BuildPage(items=[BuildOut.of(row) for row in rows], next_cursor=encode_cursor(position))


@router.get(
    "/{build_id}",
    responses=responses(errors.BuildNotFound, errors.RoleRequired, errors.TooManyFollowers),
    dependencies=[Depends(wait_for_build)],
)
def get_build(build_id: str, session: SessionDep, caller: BuildReader) -> BuildOut:
    """One build: how far it is, or what it delivered. `wait_s` answers when it has ended."""
    return BuildOut.of(repository.find_build(session, caller.organisation_id, build_id))


@router.post(
    "/{build_id}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    responses=responses(errors.BuildNotFound, errors.RoleRequired, errors.BuildFinished),
)
def cancel(build_id: str, session: SessionDep, caller: BuildWriter) -> BuildOut:
    """End a build at once, queued or running; the process of a running one is gone within seconds.

    Builders cancel their own organisation's builds, curators and owners any of the pool.
    """
    return BuildOut.of(cancel_build(session, caller.organisation_id, build_id))


@router.post(
    "/{build_id}/resume",
    status_code=HTTPStatus.ACCEPTED,
    responses=responses(
        errors.BuildNotFound,
        errors.RoleRequired,
        errors.BuildNotResumable,
        errors.NoUsableModels,
        errors.ModelNotFound,
        errors.QuotaExceeded,
        errors.StorageUnavailable,
        *CREATES,
    ),
)
def resume(
    build_id: str,
    once: Annotated[Once, once_for(Scope.BUILDS_WRITE)],
    session: SessionDep,
    caller: BuildWriter,
    settings: SettingsDep,
    store: StoreDep,
) -> BuildOut:
    """Go on with a build that was canceled or failed, from the state that it saved last.

    That is another build, which delivers what this one would have: same snapshot, recipe, seed. A
    validation set ended with this one; the other's report does without. Builds that a crash or a
    restart interrupted go on by themselves.
    """
    check_build(session, caller.organisation_id, Quotas.of_deployment(settings))
    build = resume_build(session, store, caller.organisation_id, build_id)
    return once.keep(session, BuildOut.of(build))
