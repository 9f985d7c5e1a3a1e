"""API keys: made once, shown once, kept as hashes."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pool.database import repository
from pool.database.tables import ApiKeyRow
from pool.domain import Caller, Scope, new_id, utc_now
from pool.errors import InvalidInput, KeyNotFound, NotAllowed, NotAuthenticated

PREFIX = "mp_"
MIN_SECRET_CHARS = 24


def hash_key(key: str) -> str:
    """SHA-256, in hexadecimal. Fast on purpose: keys are random, not chosen by people."""
    return hashlib.sha256(key.encode()).hexdigest()


def create_key(
    session: Session,
    organisation_id: str,
    *,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None = None,
    key: str | None = None,
) -> tuple[ApiKeyRow, str]:
    """A new key and its record; the key itself is not kept and cannot be shown again.

    Raises:
        InvalidInput: a key given by the operator is too short to be a secret.
    """
    secret = key or PREFIX + secrets.token_urlsafe(32)
    if not secret.startswith(PREFIX) or len(secret) < MIN_SECRET_CHARS:
        raise InvalidInput(
            f"A key starts with {PREFIX} and has at least {MIN_SECRET_CHARS} characters.",
            part="key",
        )
    row = ApiKeyRow(
        id=new_id("key"),
        organisation_id=organisation_id,
        name=name,
        secret_sha256=hash_key(secret),
        scopes=[str(scope) for scope in scopes],
        created_at=utc_now(),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return row, secret


def authenticate(session: Session, key: str) -> Caller:
    """Who holds this key.

    Raises:
        NotAuthenticated: nobody, or it expired or was revoked.
    """
    row = repository.find_key(session, hash_key(key))
    if row is None or row.revoked_at is not None:
        raise NotAuthenticated("The API key is not valid; ask your administrator for one.")
    if row.expires_at is not None and row.expires_at <= utc_now():
        raise NotAuthenticated("The API key has expired; ask your administrator for a new one.")
    return Caller(
        organisation_id=row.organisation_id,
        key_id=row.id,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
    )


def require(caller: Caller, scope: Scope) -> None:
    """Return if the caller may do this.

    Raises:
        NotAllowed: the key lacks the scope.
    """
    if scope not in caller.scopes:
        raise NotAllowed(f"This needs a key with the scope {scope}.")


def revoke_key(session: Session, organisation_id: str, key_id: str) -> ApiKeyRow:
    """End a key at once.

    Raises:
        KeyNotFound: the organisation has none of this id.
    """
    own = (ApiKeyRow.organisation_id == organisation_id, ApiKeyRow.id == key_id)
    session.execute(
        update(ApiKeyRow).where(*own, ApiKeyRow.revoked_at.is_(None)).values(revoked_at=utc_now())
    )
    row = session.scalar(select(ApiKeyRow).where(*own))
    if row is None:
        raise KeyNotFound("There is no API key of this id; GET /v1/keys lists yours.")
    return row
