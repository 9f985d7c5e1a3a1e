"""What an organisation may see: the one place that every query of pools' records goes through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, and_, case, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from pool.database.access_tables import PoolMemberRow
from pool.database.tables import BuildRow, MetaLearnerRow, ModelRow, PoolRow
from pool.database.upload_tables import UploadRow
from pool.errors import RoleRequired
from pool.roles import PERMITS, Action, Role, in_order, may

Recorded = type[ModelRow] | type[BuildRow] | type[MetaLearnerRow]
Listed = Recorded | type[UploadRow]
RolesByPool = Mapping[str, frozenset[Role]]
"""An organisation's roles, by the id of the pool."""

SEEN_BY: dict[Listed, Action] = {
    ModelRow: Action.SEE_MODELS,
    BuildRow: Action.SEE_BUILDS,
    MetaLearnerRow: Action.SEE_META_LEARNERS,
}


def pools_of(organisation_id: str, action: Action | None = None) -> Select[str]:
    """The ids of the pools in which the organisation may do this, or is a member at all."""
    query = select(PoolMemberRow.pool_id).where(PoolMemberRow.organisation_id == organisation_id)
    return query if action is None else query.where(PoolMemberRow.role.in_(PERMITS[action]))


def may_see(table: Listed, organisation_id: str) -> ColumnElement[bool]:
    """Which records the organisation finds in lists.

    Its own models it sees whatever its roles, of uploads nothing but its own.
    """
    if table is UploadRow:
        return UploadRow.organisation_id == organisation_id
    permitted = table.pool_id.in_(pools_of(organisation_id, SEEN_BY[table]))
    if table is ModelRow:
        return or_(ModelRow.organisation_id == organisation_id, permitted)
    return permitted


@dataclass(frozen=True, slots=True)
class Source:
    """Some of the records that an organisation finds in a list, as an index has them together."""

    of: ColumnElement[bool]
    whole_pool: bool
    """All of one pool's, whoever contributed them."""


def sources(
    session: Session, table: Listed, organisation_id: str, *, pool_id: str | None = None
) -> list[Source]:
    """The same records as `may_see` says, source by source and each in one of them only.

    Args:
        session: where it is asked.
        table: which records.
        organisation_id: who asks.
        pool_id: only this pool's.
    """
    if table is UploadRow:
        return [Source(UploadRow.organisation_id == organisation_id, whole_pool=False)]
    permitted = set(session.scalars(pools_of(organisation_id, SEEN_BY[table])))
    found = [
        Source(table.pool_id == each, whole_pool=True)
        for each in sorted(permitted)
        if pool_id in (None, each)
    ]
    if table is ModelRow:
        holding = _pools_with_models_of(session, organisation_id) if pool_id is None else [pool_id]
        found += [
            Source(
                and_(ModelRow.organisation_id == organisation_id, ModelRow.pool_id == each),
                whole_pool=False,
            )
            for each in holding
            if each not in permitted
        ]
    return found


def _pools_with_models_of(session: Session, organisation_id: str) -> Sequence[str]:
    """Where an organisation's models are, also if it has left: one look into an index for each.

    The look compares organisation and pool at once: told that the organisation is equal,
    PostgreSQL may rather walk through another member's models in the order of pools. And it asks
    for what is at or behind an id made longer: for what is behind an id, SQLite would walk through
    all that have it. Ids are of one length, so nothing lies between.
    """
    owner, pool = ModelRow.organisation_id, ModelRow.pool_id

    def following(passed: ColumnElement[str]) -> ColumnElement[str | None]:
        return (
            select(case((owner == organisation_id, pool)))
            .where(tuple_(owner, pool) >= tuple_(literal(organisation_id), passed.concat("+")))
            .order_by(owner, pool)
            .limit(1)
            .correlate_except(ModelRow)
            .scalar_subquery()
        )

    walked = select(following(literal("")).label("pool_id")).cte("walked", recursive=True)
    on = select(following(walked.c.pool_id)).where(walked.c.pool_id.is_not(None))
    walked = walked.union_all(on)
    return session.scalars(select(walked.c.pool_id).where(walked.c.pool_id.is_not(None))).all()


def may_know(table: Recorded, organisation_id: str) -> ColumnElement[bool]:
    """Of which records the organisation may hear that they exist: those of pools it belongs to.

    What is outside answers "not found"; what is inside and not permitted says which role is needed.
    """
    inside = table.pool_id.in_(pools_of(organisation_id))
    if table is ModelRow:
        return or_(ModelRow.organisation_id == organisation_id, inside)
    return inside


def roles_by_pool(session: Session, organisation_id: str) -> RolesByPool:
    """The organisation's roles in each pool it belongs to."""
    rows = session.execute(
        select(PoolMemberRow.pool_id, PoolMemberRow.role).where(
            PoolMemberRow.organisation_id == organisation_id
        )
    )
    found: dict[str, set[Role]] = {}
    for pool_id, role in rows:
        found.setdefault(pool_id, set()).add(Role(role))
    return {pool_id: frozenset(roles) for pool_id, roles in found.items()}


def roles_in(session: Session, organisation_id: str, pool_id: str) -> frozenset[Role]:
    """The organisation's roles in one pool; none where it is no member."""
    rows = session.scalars(
        select(PoolMemberRow.role).where(
            PoolMemberRow.organisation_id == organisation_id, PoolMemberRow.pool_id == pool_id
        )
    )
    return frozenset(Role(role) for role in rows)


def require_role(session: Session, organisation_id: str, pool: PoolRow, action: Action) -> None:
    """Return if the organisation may do this in the pool.

    Raises:
        RoleRequired: none of its roles there permits it.
    """
    held = roles_in(session, organisation_id, pool.id)
    if may(held, action):
        return
    needed = " or ".join(in_order(PERMITS[action]))
    has = ", ".join(in_order(held)) or "no member"
    raise RoleRequired(
        f"To {action} needs the role {needed} in pool {pool.name!r}; your organisation is {has} "
        "there. An owner of the pool can give it: PUT /v1/pools/{pool}/members/{organisation}."
    )
