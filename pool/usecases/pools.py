"""Name a new pool."""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pool.database.audit import Act, record
from pool.database.tables import PoolRow
from pool.domain import new_id
from pool.errors import PoolExists
from pool.usecases.members import found_pool


def create_pool(
    session: Session, organisation_id: str, *, name: str, description: str | None
) -> PoolRow:
    """An empty pool, which the organisation owns.

    Raises:
        PoolExists: the organisation has one of this name.
    """
    row = PoolRow(
        id=new_id("pool"), organisation_id=organisation_id, name=name, description=description
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise PoolExists(f"There is a pool named {name!r} already; choose another name.") from error
    found_pool(session, row)
    record(session, Act.POOL_MADE, row.id, pool_id=row.id, organisation_id=organisation_id)
    return row
