"""API keys: made once, shown once, kept as hashes."""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from pool.database import repository
from pool.database.audit import Act, record
from pool.database.tables import ApiKeyRow
from pool.domain import Caller, Scope, new_id, utc_now
from pool.errors import InvalidInput, KeyEnded, KeyNotFound, NotAllowed, NotAuthenticated

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
    _record(session, Act.KEY_MADE, row)
    return row, secret


def check_may_give(caller: Caller, scopes: Collection[str]) -> None:
    """Return if a key of the caller's may hold these scopes.

    Raises:
        NotAllowed: the caller's own key lacks one: it could make itself a stronger one.
    """
    lacking = sorted(set(scopes) - caller.scopes)
    if lacking:
        raise NotAllowed(
            f"Your key lacks {', '.join(lacking)}, so it cannot give it to another; leave it out, "
            "or use a key that has it."
        )


def rotate_key(
    session: Session, caller: Caller, key_id: str, *, overlap_s: float
) -> tuple[ApiKeyRow, str]:
    """A new secret for a key; the present one stays valid for a while, an earlier one does not.

    Raises:
        KeyNotFound: the organisation has none of this id.
        KeyEnded: it was revoked or has expired.
        NotAllowed: it may do more than the caller's key.
    """
    own = (ApiKeyRow.organisation_id == caller.organisation_id, ApiKeyRow.id == key_id)
    row = session.scalar(select(ApiKeyRow).where(*own).with_for_update())
    if row is None:
        raise KeyNotFound("There is no API key of this id; GET /v1/keys lists yours.")
    now = utc_now()
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        raise KeyEnded("The key has ended already; make another with POST /v1/keys.")
    check_may_give(caller, row.scopes)
    secret = PREFIX + secrets.token_urlsafe(32)
    row.previous_sha256 = row.secret_sha256 if overlap_s > 0 else None
    row.previous_until = now + timedelta(seconds=overlap_s) if overlap_s > 0 else None
    row.secret_sha256 = hash_key(secret)
    session.flush()
    _record(session, Act.KEY_ROTATED, row)
    return row, secret


def authenticate(session: Session, key: str) -> Caller:
    """Who holds this key.

    Raises:
        NotAuthenticated: nobody, or it expired, was rotated away or was revoked.
    """
    return authenticate_again(session, hash_key(key))


def authenticate_again(session: Session, secret_sha256: str) -> Caller:
    """The same for a key that was sent a while ago, and of which only the hash is known.

    Raises:
        NotAuthenticated: it has ended since.
    """
    row = repository.find_key(session, secret_sha256)
    if row is None or row.revoked_at is not None:
        raise NotAuthenticated("The API key is not valid; ask your administrator for one.")
    if row.expires_at is not None and row.expires_at <= utc_now():
        raise NotAuthenticated("The API key has expired; ask your administrator for a new one.")
    return Caller(
        organisation_id=row.organisation_id,
        key_id=row.id,
        secret_sha256=secret_sha256,
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
    ended = session.scalar(
        update(ApiKeyRow)
        .where(*own, ApiKeyRow.revoked_at.is_(None))
        .values(revoked_at=utc_now())
        .returning(ApiKeyRow.id)
    )
    row = session.scalar(select(ApiKeyRow).where(*own))
    if row is None:
        raise KeyNotFound("There is no API key of this id; GET /v1/keys lists yours.")
    if ended is not None:
        _record(session, Act.KEY_REVOKED, row)
    return row


def _record(session: Session, act: Act, row: ApiKeyRow) -> None:
    """Keys are of no pool: their own organisation's auditors see this."""
    record(session, act, row.id, organisation_id=row.organisation_id)
