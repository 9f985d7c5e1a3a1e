"""Pools: named sets of models to build over."""

from collections.abc import Iterable
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
from pool.database.visible import roles_by_pool
from pool.domain import ModelStatus, Scope
from pool.roles import Action, Role, in_order, may
from pool.usecases.pools import create_pool

router = APIRouter(prefix="/v1/pools", tags=["pools"], route_class=ThreadedRoute)


class PoolIn(BaseModel):
    """A new pool."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "ward-3"}]})

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w][\w .-]*$")]
    description: Annotated[str, Field(max_length=5000)] | None = None


class PoolOut(BaseModel):
    """A pool, what your organisation is in it, and how many models it has in each state."""

    id: str
    name: str
    description: str | None
    roles: list[Role]
    models: dict[ModelStatus, int] = Field(description="Empty where your roles show no models.")
    created_at: datetime

    @classmethod
    def of(cls, row: PoolRow, roles: Iterable[Role], models: dict[ModelStatus, int]) -> Self:
        """The record's public side."""
        return cls(
            id=row.id,
            name=row.name,
            description=row.description,
            roles=in_order(roles),
            models=models if may(roles, Action.SEE_MODELS) else {},
            created_at=row.created_at,
        )


class PoolList(BaseModel):
    """All pools that the organisation belongs to."""

    items: list[PoolOut]


@router.get("", responses=responses())
def list_pools(session: SessionDep, caller: ModelReader) -> PoolList:
    """The pools that your organisation belongs to, oldest first."""
    rows = repository.list_pools(session, caller.organisation_id)
    roles = roles_by_pool(session, caller.organisation_id)
    return PoolList(
        items=[
            PoolOut.of(row, roles[row.id], repository.count_models(session, row.id)) for row in rows
        ]
    )


@router.post("", status_code=HTTPStatus.CREATED, responses=responses(errors.PoolExists, *CREATES))
def add_pool(
    order: PoolIn,
    once: Annotated[Once, once_for(Scope.MODELS_WRITE)],
    session: SessionDep,
    caller: ModelWriter,
) -> PoolOut:
    """Make an empty pool, which your organisation owns."""
    row = create_pool(
        session, caller.organisation_id, name=order.name, description=order.description
    )
    return once.keep(session, PoolOut.of(row, {Role.OWNER}, {}))
