"""A new organisation: its own pool, its first admin key."""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pool.database.audit import Act, record
from pool.database.tables import OrganisationRow
from pool.domain import Scope, new_id
from pool.errors import OrganisationExists
from pool.usecases.keys import create_key
from pool.usecases.pools import create_pool

DEFAULT_POOL = "default"


def add_organisation(session: Session, name: str) -> OrganisationRow:
    """An organisation with an empty pool of its own, which requests that name no pool mean.

    Raises:
        OrganisationExists: there is one of this name.
    """
    organisation = OrganisationRow(id=new_id("org"), name=name)
    try:
        with session.begin_nested():
            session.add(organisation)
    except IntegrityError as error:
        raise OrganisationExists(
            f"There is an organisation named {name!r} already; choose another name."
        ) from error
    record(session, Act.ORGANISATION_ADDED, organisation.id, organisation_id=organisation.id)
    create_pool(session, organisation.id, name=DEFAULT_POOL, description=None)
    return organisation


def create_admin_key(session: Session, organisation_id: str, key: str | None = None) -> str:
    """A key that may do everything its organisation may; the secret."""
    _, secret = create_key(
        session, organisation_id, name="first admin key", scopes=list(Scope), key=key
    )
    return secret
