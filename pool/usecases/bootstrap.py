"""The first organisation, its default pool and its first admin key."""

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pool.database import repository
from pool.database.session import Database
from pool.database.tables import ApiKeyRow, OrganisationRow
from pool.errors import OrganisationExists
from pool.usecases.keys import hash_key
from pool.usecases.organisations import add_organisation, create_admin_key

DEFAULT_ORGANISATION = "default"


def bootstrap(database: Database, key: str | None) -> str | None:
    """Make what is missing; the new admin key if one was made here, to be printed once.

    Safe to run at every start and by several replicas at once: the unique names let one win.
    """
    try:
        with database.write() as session:
            return _bootstrap(session, key)
    except (IntegrityError, OrganisationExists):
        with database.write() as session:
            return _bootstrap(session, key)


def _bootstrap(session: Session, key: str | None) -> str | None:
    organisation = session.scalar(
        select(OrganisationRow).where(OrganisationRow.name == DEFAULT_ORGANISATION)
    )
    if organisation is None:
        organisation = add_organisation(session, DEFAULT_ORGANISATION)
    if key is not None:
        if repository.find_key(session, hash_key(key)) is None:
            create_admin_key(session, organisation.id, key)
        return None
    if session.scalar(select(func.count()).select_from(ApiKeyRow)):
        return None
    return create_admin_key(session, organisation.id)
