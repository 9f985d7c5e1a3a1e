"""Aliases: names in a pool that point at meta-learners, can move, and remember where they were."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from app.deps import BuildReader, BuildWriter, SessionDep
from app.errors import responses
from app.routes.members import PoolPath
from app.threads import ThreadedRoute
from pool import errors
from pool.database.alias_tables import AliasMoveRow, AliasRow
from pool.usecases import aliases

router = APIRouter(prefix="/v1/pools", tags=["aliases"], route_class=ThreadedRoute)

NAME = r"^[a-z0-9][a-z0-9._-]*$"
MOST_MOVES = 200
AliasPath = Annotated[
    str, Path(pattern=NAME, max_length=100, description="The alias, such as `production`.")
]
OF_A_POOL = (errors.PoolNotFound, errors.PoolNameAmbiguous, errors.RoleRequired)


class AliasIn(BaseModel):
    """Where an alias shall point."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"meta_learner_id": "ml_5f0c", "note": "5 points more on ward 3"}]
        },
    )

    meta_learner_id: Annotated[str, Field(max_length=100)]
    note: Annotated[str | None, Field(max_length=1000, description="Why; it is shown.")] = None
    expected_meta_learner_id: Annotated[
        str | None,
        Field(
            max_length=100,
            description="Move it only if it points there now (null: if it points nowhere); "
            "without this field, wherever it points.",
        ),
    ] = None


class AliasOut(BaseModel):
    """A name and where it points."""

    name: str
    pool: str
    meta_learner_id: str | None = Field(description="Null: the alias is removed.")
    n_moves: int
    moved_at: datetime
    address: str = Field(
        description="`pool@alias`, which every path of a meta-learner takes instead of its id."
    )

    @classmethod
    def of(cls, row: AliasRow, pool: str) -> Self:
        """The record's public side; `pool` as the caller named it."""
        return cls(
            name=row.name,
            pool=pool,
            meta_learner_id=row.meta_learner_id,
            n_moves=row.n_moves,
            moved_at=row.moved_at,
            address=f"{pool}@{row.name}",
        )


class AliasMove(BaseModel):
    """One move."""

    seq: int
    meta_learner_id: str | None = Field(description="Null: the alias was removed.")
    by_organisation_id: str
    note: str | None
    at: datetime

    @classmethod
    def of(cls, row: AliasMoveRow) -> Self:
        """The record's public side."""
        return cls(
            seq=row.seq,
            meta_learner_id=row.meta_learner_id,
            by_organisation_id=row.organisation_id,
            note=row.note,
            at=row.at,
        )


class AliasList(BaseModel):
    """All aliases of the pool that point somewhere."""

    items: list[AliasOut]


class AliasDetail(AliasOut):
    """An alias with where it pointed when."""

    moves: list[AliasMove] = Field(description="Newest first; the last 200.")

    @classmethod
    def with_moves(cls, row: AliasRow, pool: str, moves: Sequence[AliasMoveRow]) -> Self:
        """The record with its history."""
        record = AliasOut.of(row, pool)
        return cls(**record.model_dump(), moves=[AliasMove.of(each) for each in moves])


@router.get("/{pool}/aliases", responses=responses(*OF_A_POOL))
def list_aliases(pool: PoolPath, session: SessionDep, caller: BuildReader) -> AliasList:
    """The pool's aliases, by name."""
    rows = aliases.list_aliases(session, caller.organisation_id, pool)
    return AliasList(items=[AliasOut.of(row, pool) for row in rows])


@router.get("/{pool}/aliases/{alias}", responses=responses(*OF_A_POOL, errors.AliasNotFound))
def get_alias(
    pool: PoolPath, alias: AliasPath, session: SessionDep, caller: BuildReader
) -> AliasDetail:
    """One alias, also a removed one, and where it pointed when."""
    row, moves = aliases.alias_with_moves(
        session, caller.organisation_id, pool, alias, limit=MOST_MOVES
    )
    return AliasDetail.with_moves(row, pool, moves)


@router.put(
    "/{pool}/aliases/{alias}",
    responses=responses(
        *OF_A_POOL,
        errors.MetaLearnerNotFound,
        errors.MetaLearnerRetired,
        errors.AliasMoved,
        errors.TooManyAliases,
    ),
)
def put_alias(
    pool: PoolPath, alias: AliasPath, order: AliasIn, session: SessionDep, caller: BuildWriter
) -> AliasOut:
    """Point an alias at a meta-learner of the pool, for whoever asks by it from now on."""
    named = "expected_meta_learner_id" in order.model_fields_set
    row = aliases.move_alias(
        session,
        caller.organisation_id,
        pool,
        alias,
        meta_learner_id=order.meta_learner_id,
        note=order.note,
        expected=[order.expected_meta_learner_id] if named else None,
    )
    return AliasOut.of(row, pool)


@router.delete(
    "/{pool}/aliases/{alias}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=responses(*OF_A_POOL, errors.AliasNotFound),
)
def delete_alias(
    pool: PoolPath, alias: AliasPath, session: SessionDep, caller: BuildWriter
) -> None:
    """Let an alias point nowhere; its history stays."""
    aliases.remove_alias(session, caller.organisation_id, pool, alias)
