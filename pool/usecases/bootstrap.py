"""The first organisation, its default pool and its first admin key."""

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pool.database import repository
from pool.database.session import Database
from pool.database.tables import ApiKeyRow, OrganisationRow, PoolRow
from pool.domain import Scope, new_id
from pool.usecases.keys import create_key, hash_key

DEFAULT_ORGANISATION = "default"
DEFAULT_POOL = "default"


def bootstrap(database: Database, key: str | None) -> str | None:
    """Make what is missing; the new admin key if one was made here, to be printed once.

    Safe to run at every start and by several replicas at once: the unique names let one win.
    """
    try:
        with database.write() as session:
            return _bootstrap(session, key)
    except IntegrityError:
        with database.write() as session:
            return _bootstrap(session, key)


def _bootstrap(session: Session, key: str | None) -> str | None:
    organisation = session.scalar(
        select(OrganisationRow).where(OrganisationRow.name == DEFAULT_ORGANISATION)
    )
    if organisation is None:
        organisation = OrganisationRow(id=new_id("org"), name=DEFAULT_ORGANISATION)
        session.add(organisation)
        session.flush()
        session.add(PoolRow(id=new_id("pool"), organisation_id=organisation.id, name=DEFAULT_POOL))
        session.flush()
    if key is not None:
        if repository.find_key(session, hash_key(key)) is None:
            _create_admin_key(session, organisation.id, key)
        return None
    if session.scalar(select(func.count()).select_from(ApiKeyRow)):
        return None
    return _create_admin_key(session, organisation.id, None)


def _create_admin_key(session: Session, organisation_id: str, key: str | None) -> str:
    _, secret = create_key(
        session, organisation_id, name="first admin key", scopes=list(Scope), key=key
    )
    return secret
