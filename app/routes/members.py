"""A pool's members: which organisations belong to it, and what they may do there."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from app.deps import ModelReader, PoolAdmin, SessionDep
from app.errors import responses
from app.threads import ThreadedRoute
from pool import errors
from pool.roles import Role
from pool.usecases import members

router = APIRouter(prefix="/v1/pools", tags=["pools"], route_class=ThreadedRoute)

PoolPath = Annotated[str, Path(description="A pool's id, or its name.")]
MemberPath = Annotated[str, Path(description="An organisation's id; its GET /v1/usage shows it.")]


class MemberIn(BaseModel):
    """What an organisation shall be in a pool."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"roles": ["contributor", "consumer"]}]}
    )

    roles: Annotated[list[Role], Field(min_length=1)]


class MemberOut(BaseModel):
    """An organisation in a pool."""

    organisation_id: str
    organisation: str = Field(description="Its name.")
    roles: list[Role]
    since: datetime

    @classmethod
    def of(cls, member: members.Member) -> Self:
        """The record's public side."""
        return cls(
            organisation_id=member.organisation_id,
            organisation=member.organisation,
            roles=list(member.roles),
            since=member.since,
        )


class MemberList(BaseModel):
    """All members of the pool."""

    items: list[MemberOut]


@router.get(
    "/{pool}/members",
    responses=responses(errors.PoolNotFound, errors.RoleRequired, errors.PoolNameAmbiguous),
)
def list_members(pool: PoolPath, session: SessionDep, caller: ModelReader) -> MemberList:
    """Who belongs to the pool, the longest-standing first."""
    found = members.list_members(session, caller.organisation_id, pool)
    return MemberList(items=[MemberOut.of(member) for member in found])


@router.put(
    "/{pool}/members/{organisation_id}",
    responses=responses(
        errors.PoolNotFound,
        errors.OrganisationNotFound,
        errors.RoleRequired,
        errors.PoolNameAmbiguous,
        errors.LastOwner,
    ),
)
def put_member(
    pool: PoolPath,
    organisation_id: MemberPath,
    order: MemberIn,
    session: SessionDep,
    caller: PoolAdmin,
) -> MemberOut:
    """Give an organisation exactly these roles in the pool, at once; for the pool's owners."""
    member = members.set_member(
        session, caller.organisation_id, pool, member_id=organisation_id, roles=order.roles
    )
    return MemberOut.of(member)


@router.delete(
    "/{pool}/members/{organisation_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=responses(
        errors.PoolNotFound,
        errors.MemberNotFound,
        errors.RoleRequired,
        errors.PoolNameAmbiguous,
        errors.LastOwner,
    ),
)
def delete_member(
    pool: PoolPath, organisation_id: MemberPath, session: SessionDep, caller: PoolAdmin
) -> None:
    """Take all roles from an organisation, at once; every member may leave by itself."""
    members.remove_member(session, caller.organisation_id, pool, member_id=organisation_id)
