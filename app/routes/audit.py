"""What happened in the pools that the caller's organisation audits."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import and_, or_, select

from app.deps import Auditor, SessionDep
from app.errors import responses
from app.paging import Cursor, Limit, decode_cursor, encode_cursor
from app.threads import ThreadedRoute
from pool import errors
from pool.database import repository
from pool.database.audit import Act
from pool.database.audit_tables import AuditEventRow
from pool.database.visible import pools_of
from pool.errors import InvalidInput
from pool.roles import Action

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=ThreadedRoute)


class AuditEventOut(BaseModel):
    """One event of the chain."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="Its place in the deployment's chain; of others you see gaps.")
    at: datetime
    action: Act
    organisation_id: str | None = Field(description="Who acted, or whose it is.")
    key_id: str | None = Field(description="Null where the server or its operator acted.")
    pool_id: str | None
    object_id: str
    request_id: str | None
    detail: str | None = Field(description="Roles, a state, or the code of a reason.")
    previous_sha256: str
    sha256: str = Field(description="Of the fields above and `previous_sha256`; note it down.")


class AuditPage(BaseModel):
    """Some of the events, the latest first."""

    items: list[AuditEventOut]
    next_cursor: str | None

    @classmethod
    def of(cls, rows: list[AuditEventRow], limit: int) -> Self:
        """At most `limit` of them; one more says that there is a next page."""
        shown = rows[:limit]
        last = shown[-1] if len(rows) > limit else None
        return cls(
            items=[AuditEventOut.model_validate(row) for row in shown],
            next_cursor=encode_cursor((last.at, str(last.seq)) if last else None),
        )


@router.get(
    "",
    responses=responses(errors.PoolNotFound, errors.RoleRequired, errors.PoolNameAmbiguous),
)
def list_audit_events(
    session: SessionDep,
    caller: Auditor,
    pool: Annotated[
        str | None, Query(description="A pool's id or name; else all you audit.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """What happened in your pools, and to your keys, the latest first; for owners and auditors."""
    organisation_id = caller.organisation_id
    if pool is not None:
        found = repository.find_pool(session, organisation_id, pool, Action.READ_AUDIT)
        shown = AuditEventRow.pool_id == found.id
    else:
        own = and_(
            AuditEventRow.pool_id.is_(None), AuditEventRow.organisation_id == organisation_id
        )
        audited = pools_of(organisation_id, Action.READ_AUDIT)
        shown = or_(AuditEventRow.pool_id.in_(audited), own)
    query = select(AuditEventRow).where(shown).order_by(AuditEventRow.seq.desc())
    before = _before(cursor)
    if before is not None:
        query = query.where(AuditEventRow.seq < before)
    return AuditPage.of(list(session.scalars(query.limit(limit + 1))), limit)


def _before(cursor: str | None) -> int | None:
    position = decode_cursor(cursor)
    if position is None:
        return None
    if not (position[1].isascii() and position[1].isdigit() and len(position[1]) < 19):
        raise InvalidInput(
            "This is no cursor of this list; leave it out to start at the latest event.",
            part="query/cursor",
        )
    return int(position[1])
