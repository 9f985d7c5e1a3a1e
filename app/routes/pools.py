"""Pools: named sets of models to build over."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.deps import ModelReader, ModelWriter, SessionDep
from app.errors import CREATES, responses
from app.idempotency import Once, once_for
from app.threads import ThreadedRoute
from pool import errors
from pool.database import repository
from pool.database.tables import PoolRow
from pool.domain import ModelStatus, Scope
from pool.usecases.pools import create_pool

router = APIRouter(prefix="/v1/pools", tags=["pools"], route_class=ThreadedRoute)


class PoolIn(BaseModel):
    """A new pool."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "ward-3"}]})

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w][\w .-]*$")]
    description: Annotated[str, Field(max_length=5000)] | None = None


class PoolOut(BaseModel):
    """A pool and how many models it has in each state."""

    id: str
    name: str
    description: str | None
    models: dict[ModelStatus, int]
    created_at: datetime

    @classmethod
    def of(cls, row: PoolRow, models: dict[ModelStatus, int]) -> Self:
        """The record's public side."""
        return cls(
            id=row.id,
            name=row.name,
            description=row.description,
            models=models,
            created_at=row.created_at,
        )


class PoolList(BaseModel):
    """All pools of the organisation."""

    items: list[PoolOut]


@router.get("", responses=responses())
def list_pools(session: SessionDep, caller: ModelReader) -> PoolList:
    """Your pools, oldest first."""
    rows = repository.list_pools(session, caller.organisation_id)
    return PoolList(
        items=[PoolOut.of(row, repository.count_models(session, row.id)) for row in rows]
    )


@router.post("", status_code=HTTPStatus.CREATED, responses=responses(errors.PoolExists, *CREATES))
def add_pool(
    order: PoolIn,
    once: Annotated[Once, once_for(Scope.MODELS_WRITE)],
    session: SessionDep,
    caller: ModelWriter,
) -> PoolOut:
    """Make an empty pool."""
    row = create_pool(
        session, caller.organisation_id, name=order.name, description=order.description
    )
    return once.keep(session, PoolOut.of(row, {}))
