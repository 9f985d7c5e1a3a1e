"""The map of a pool's tasks: models that learnt alike tasks lie near one another."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.deps import InferenceDep, ModelReader, SessionDep
from app.errors import responses
from app.routes.members import PoolPath
from app.threads import ThreadedRoute
from pool import errors
from pool.database import repository
from pool.database.fingerprints import placed_models
from pool.roles import Action

router = APIRouter(prefix="/v1/pools", tags=["pools"], route_class=ThreadedRoute)


class Place(BaseModel):
    """Where a model lies."""

    model_id: str
    name: str
    backbone: str
    domain: str | None
    mine: bool
    x: float = Field(ge=-1, le=1)
    y: float = Field(ge=-1, le=1)


class TaskMap(BaseModel):
    """A pool's ready models in two dimensions."""

    items: list[Place]
    models_ready: int = Field(
        description="In the pool; those inspected by an older release, and all beyond a thousand, "
        "have no place."
    )
    kept: float = Field(
        ge=0, le=1, description="Share of the differences between models that the map shows."
    )


@router.get(
    "/{pool}/task-map",
    responses=responses(errors.PoolNotFound, errors.PoolNameAmbiguous, errors.RoleRequired),
)
def get_task_map(
    pool: PoolPath, session: SessionDep, caller: ModelReader, inference: InferenceDep
) -> TaskMap:
    """The pool's models by how alike their tasks are.

    Told from how each model arranges the same pictures, which are drawn by chance; the places mean
    nothing but who is near whom.
    """
    row = repository.find_pool(session, caller.organisation_id, pool, Action.SEE_MODELS)
    models, ready = placed_models(session, row.id)
    places, kept = inference.lay_out([print_.vector for _, print_ in models])
    return TaskMap(
        items=[
            Place(
                model_id=model.id,
                name=model.name,
                backbone=model.backbone,
                domain=model.domain,
                mine=model.organisation_id == caller.organisation_id,
                x=x,
                y=y,
            )
            for (model, _), (x, y) in zip(models, places, strict=True)
        ],
        models_ready=ready,
        kept=min(kept, 1.0),
    )
