"""API keys: made by an admin, shown once, revoked at once."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from app.deps import KeyAdmin, SessionDep
from app.errors import CREATES, responses
from app.idempotency import Once, once_for
from app.threads import ThreadedRoute
from pool import errors
from pool.database import repository
from pool.database.tables import ApiKeyRow
from pool.domain import Scope, utc_now
from pool.usecases.keys import check_may_give, create_key, revoke_key, rotate_key

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=ThreadedRoute)

MAX_OVERLAP_S = 30 * 24 * 3600.0

EXAMPLE: JsonDict = {"name": "contributor, ward 3", "scopes": ["models:read", "models:write"]}


class KeyIn(BaseModel):
    """A new key."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    expires_at: AwareDatetime | None = None

    @field_validator("expires_at")
    @classmethod
    def _expires_later(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment <= utc_now():
            raise ValueError("this moment has passed")
        return moment


class KeyOut(BaseModel):
    """A key's record; the key itself is not in it."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    previous_until: datetime | None = Field(
        description="Until when the secret before the last rotation is valid, too."
    )

    @classmethod
    def of(cls, row: ApiKeyRow) -> Self:
        """The record's public side."""
        return cls(
            id=row.id,
            name=row.name,
            scopes=[Scope(scope) for scope in row.scopes],
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            previous_until=row.previous_until,
        )


class NewKeyOut(KeyOut):
    """A key's record with the key, this once."""

    key: str | None = Field(
        description="The secret. Null in a replay: it is shown once and not kept; revoke this key "
        "and make another if its first answer was lost."
    )


class KeyList(BaseModel):
    """All keys of the organisation."""

    items: list[KeyOut]


@router.post("", status_code=HTTPStatus.CREATED, responses=responses(*CREATES))
def add_key(
    order: KeyIn,
    once: Annotated[Once, once_for(Scope.KEYS_ADMIN)],
    session: SessionDep,
    caller: KeyAdmin,
) -> NewKeyOut:
    """Make a key with some of your own key's scopes; it is shown in this answer and never again."""
    check_may_give(caller, order.scopes)
    row, key = create_key(
        session,
        caller.organisation_id,
        name=order.name,
        scopes=list(dict.fromkeys(order.scopes)),
        expires_at=order.expires_at,
    )
    made = NewKeyOut(**KeyOut.of(row).model_dump(), key=key)
    return once.keep(session, made, shown_once=frozenset({"key"}))


@router.get("", responses=responses())
def list_keys(session: SessionDep, caller: KeyAdmin) -> KeyList:
    """Your organisation's keys, oldest first."""
    rows = repository.list_keys(session, caller.organisation_id)
    return KeyList(items=[KeyOut.of(row) for row in rows])


class RotationIn(BaseModel):
    """How to change a key's secret."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_s": 3600}]})

    overlap_s: Annotated[float, Field(ge=0, le=MAX_OVERLAP_S, strict=True)] = Field(
        default=0.0, description="How long the present secret stays valid, too."
    )


@router.post(
    "/{key_id}/rotate",
    status_code=HTTPStatus.CREATED,
    responses=responses(errors.KeyNotFound, errors.KeyEnded, *CREATES),
)
def renew_key(
    key_id: str,
    order: RotationIn,
    once: Annotated[Once, once_for(Scope.KEYS_ADMIN)],
    session: SessionDep,
    caller: KeyAdmin,
) -> NewKeyOut:
    """Give a key a new secret, shown in this answer; the present one ends at once, or later."""
    row, key = rotate_key(session, caller, key_id, overlap_s=order.overlap_s)
    made = NewKeyOut(**KeyOut.of(row).model_dump(), key=key)
    return once.keep(session, made, shown_once=frozenset({"key"}))


@router.delete("/{key_id}", responses=responses(errors.KeyNotFound))
def end_key(key_id: str, session: SessionDep, caller: KeyAdmin) -> KeyOut:
    """Revoke a key at once."""
    return KeyOut.of(revoke_key(session, caller.organisation_id, key_id))
