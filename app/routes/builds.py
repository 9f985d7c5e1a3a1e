"""Builds: request a meta-learner, follow it, cancel it."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.deps import BuildReader, BuildWriter, SessionDep, SettingsDep
from app.errors import CREATES, responses
from app.idempotency import Once, once_for
from app.paging import Cursor, Limit, decode_cursor, encode_cursor
from app.recipes import check_recipe
from app.threads import ThreadedRoute
from app.waiting import wait_for_build
from pool import errors
from pool.database import repository
from pool.database.tables import BuildRow
from pool.domain import JobStatus, Recipe, Scope
from pool.usecases.build import cancel_build, start_build
from pool.usecases.quotas import Quotas, check_build

router = APIRouter(prefix="/v1/builds", tags=["builds"], route_class=ThreadedRoute)

EXAMPLE: JsonDict = {
    "pool": "default",
    "recipe": {"algorithm": "multi_teacher", "config": {"preset": "small"}},
}


class RecipeIn(BaseModel):
    """Which algorithm, with which numbers."""

    model_config = ConfigDict(extra="forbid")

    algorithm: Annotated[str, Field(max_length=60)] = "multi_teacher"
    config: dict[str, Any] = Field(
        default_factory=dict, description="Unnamed numbers keep the preset's value."
    )


class BuildIn(BaseModel):
    """An order for a meta-learner."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    pool: Annotated[str, Field(max_length=100)] = "default"
    recipe: RecipeIn = RecipeIn()
    models: Annotated[list[str], Field(max_length=10_000)] | None = Field(
        default=None, description="Ids; left out, all ready models of the pool are used."
    )
    seed: int | None = Field(default=None, ge=0, lt=2**31, description="Same seed, same result.")


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
            n_models=len(row.snapshot),
            progress=job.progress,
            stage=job.stage,
            eta_s=job.eta_s,
            meta_learner_id=row.meta_learner_id,
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
        *CREATES,
    ),
)
def create_build(
    order: BuildIn,
    once: Annotated[Once, once_for(Scope.BUILDS_WRITE)],
    session: SessionDep,
    caller: BuildWriter,
    settings: SettingsDep,
) -> BuildOut:
    """Queue a meta-learner build over a snapshot of the pool; follow it at its record."""
    check_build(session, caller.organisation_id, Quotas.of_deployment(settings))
    build = start_build(
        session,
        caller.organisation_id,
        pool_name=order.pool,
        recipe=check_recipe(Recipe(algorithm=order.recipe.algorithm, config=order.recipe.config)),
        model_ids=order.models,
        seed=order.seed,
    )
    return once.keep(session, BuildOut.of(build))


@router.get("", responses=responses())
def list_builds(
    session: SessionDep, caller: BuildReader, limit: Limit = 50, cursor: Cursor = None
) -> BuildPage:
    """The builds that your roles show, newest first."""
    rows, position = repository.page(
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
    """Cancel a queued build at once; ask a running one to stop, which takes seconds.

    Builders cancel their own organisation's builds, curators and owners any of the pool.
    """
    return BuildOut.of(cancel_build(session, caller.organisation_id, build_id))
