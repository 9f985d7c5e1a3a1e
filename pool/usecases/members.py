"""Who belongs to a pool: give an organisation roles, change them, take them away."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pool.database import repository
from pool.database.access_tables import PoolMemberRow
from pool.database.audit import Act, record
from pool.database.tables import OrganisationRow, PoolRow
from pool.database.visible import require_role, roles_in
from pool.errors import LastOwner, MemberNotFound, OrganisationNotFound
from pool.roles import Action, Role, in_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An organisation in a pool."""

    organisation_id: str
    organisation: str
    roles: Sequence[Role]
    since: datetime


def list_members(session: Session, organisation_id: str, pool_name: str) -> list[Member]:
    """The pool's members, the longest-standing first.

    Raises:
        PoolNotFound, PoolNameAmbiguous, RoleRequired: the caller's organisation may not see them.
    """
    pool = repository.find_pool(session, organisation_id, pool_name, Action.SEE_MEMBERS)
    return _members(session, pool)


def set_member(
    session: Session,
    organisation_id: str,
    pool_name: str,
    *,
    member_id: str,
    roles: Collection[Role],
) -> Member:
    """Give an organisation exactly these roles in the pool.

    Raises:
        PoolNotFound, PoolNameAmbiguous, RoleRequired: the caller's organisation is no owner.
        OrganisationNotFound: there is none of this id.
        LastOwner: nobody would own the pool.
    """
    pool = _locked(session, organisation_id, pool_name)
    require_role(session, organisation_id, pool, Action.MANAGE_MEMBERS)
    if session.get(OrganisationRow, member_id) is None:
        raise OrganisationNotFound(
            "There is no organisation of this id; its GET /v1/usage shows it to its own keys."
        )
    _change(session, pool, member_id, frozenset(roles))
    return next(each for each in _members(session, pool) if each.organisation_id == member_id)


def remove_member(
    session: Session, organisation_id: str, pool_name: str, *, member_id: str
) -> None:
    """Take all roles away; an organisation may always take its own, and leave.

    Its models stay in the pool until it or a curator withdraws them.

    Raises:
        PoolNotFound, PoolNameAmbiguous: the caller's organisation is no member.
        RoleRequired: it is another organisation's membership, and the caller's is no owner.
        MemberNotFound: there is no such member.
        LastOwner: nobody would own the pool.
    """
    pool = _locked(session, organisation_id, pool_name)
    if member_id != organisation_id:
        require_role(session, organisation_id, pool, Action.MANAGE_MEMBERS)
    if not _change(session, pool, member_id, frozenset()):
        raise MemberNotFound(
            "No organisation of this id is a member; GET /v1/pools/{pool}/members lists them."
        )


def found_pool(session: Session, pool: PoolRow) -> None:
    """Make the organisation that made the pool its owner."""
    session.add(
        PoolMemberRow(organisation_id=pool.organisation_id, pool_id=pool.id, role=Role.OWNER)
    )
    session.flush()


def _locked(session: Session, organisation_id: str, pool_name: str) -> PoolRow:
    """The pool; changes of its members take turns, and each sees what the one before left."""
    pool = repository.find_pool(session, organisation_id, pool_name)
    session.execute(select(PoolRow.id).where(PoolRow.id == pool.id).with_for_update(key_share=True))
    return pool


def _change(session: Session, pool: PoolRow, member_id: str, wanted: frozenset[Role]) -> bool:
    """Whether the organisation was a member before."""
    held = roles_in(session, member_id, pool.id)
    if Role.OWNER in held - wanted and _owners(session, pool) == {member_id}:
        raise LastOwner(
            "This is the pool's last owner; make another organisation owner first "
            "(PUT /v1/pools/{pool}/members/{organisation})."
        )
    session.execute(
        delete(PoolMemberRow).where(
            PoolMemberRow.pool_id == pool.id,
            PoolMemberRow.organisation_id == member_id,
            PoolMemberRow.role.in_(held - wanted),
        )
    )
    for role in in_order(wanted - held):
        session.add(PoolMemberRow(organisation_id=member_id, pool_id=pool.id, role=role))
    session.flush()
    if wanted != held:
        record(
            session,
            Act.MEMBER_CHANGED if wanted else Act.MEMBER_REMOVED,
            member_id,
            pool_id=pool.id,
            organisation_id=member_id,
            detail=",".join(in_order(wanted)) or None,
        )
    return bool(held)


def _owners(session: Session, pool: PoolRow) -> set[str]:
    return set(
        session.scalars(
            select(PoolMemberRow.organisation_id).where(
                PoolMemberRow.pool_id == pool.id, PoolMemberRow.role == Role.OWNER
            )
        )
    )


def _members(session: Session, pool: PoolRow) -> list[Member]:
    rows = session.execute(
        select(PoolMemberRow, OrganisationRow.name)
        .join(OrganisationRow, OrganisationRow.id == PoolMemberRow.organisation_id)
        .where(PoolMemberRow.pool_id == pool.id)
        .order_by(PoolMemberRow.created_at, PoolMemberRow.organisation_id)
    )
    found: dict[str, Member] = {}
    for row, name in rows:
        first = found.get(row.organisation_id)
        found[row.organisation_id] = Member(
            organisation_id=row.organisation_id,
            organisation=name,
            roles=in_order([*(first.roles if first else ()), Role(row.role)]),
            since=first.since if first else row.created_at,
        )
    return list(found.values())
