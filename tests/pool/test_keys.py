"""API keys: shown once, kept as hashes, ended at once."""

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import text

from pool.database.session import Database
from pool.database.tables import ApiKeyRow, OrganisationRow
from pool.domain import Scope, utc_now
from pool.errors import InvalidInput, KeyNotFound, NotAllowed, NotAuthenticated
from pool.usecases.keys import authenticate, create_key, require, revoke_key


def make(database: Database, organisation_id: str, **values: object) -> tuple[ApiKeyRow, str]:
    options = {"name": "a key", "scopes": [Scope.PREDICT]} | values
    with database.write() as session:
        return create_key(session, organisation_id, **options)  # type: ignore[arg-type]


def test_a_key_speaks_for_its_organisation_with_its_scopes(
    database: Database, organisation_id: str
) -> None:
    scopes = [Scope.MODELS_READ, Scope.PREDICT]
    row, key = make(database, organisation_id, scopes=scopes)
    with database.read() as session:
        caller = authenticate(session, key)
    assert (caller.organisation_id, caller.key_id) == (organisation_id, row.id)
    assert caller.scopes == set(scopes)


def test_of_a_key_only_its_sha_256_is_kept(database: Database, organisation_id: str) -> None:
    row, key = make(database, organisation_id)
    with database.read() as session:
        found = session.execute(text("SELECT * FROM api_keys")).all()
    assert key not in repr(found)
    assert key.removeprefix("mp_") not in repr(found)
    assert row.secret_sha256 == hashlib.sha256(key.encode()).hexdigest()


def test_no_two_keys_are_alike_and_each_is_long(database: Database, organisation_id: str) -> None:
    keys = {make(database, organisation_id)[1] for _ in range(20)}
    assert len(keys) == 20
    assert all(key.startswith("mp_") and len(key) >= 43 for key in keys)


@pytest.mark.parametrize("wrong", ["", "mp_", "mp_nobody-has-this-key-0123456789", "\x00", "ü"])
def test_an_unknown_key_is_nobodys(database: Database, wrong: str) -> None:
    with database.read() as session, pytest.raises(NotAuthenticated):
        authenticate(session, wrong)


def test_a_key_works_until_it_expires(database: Database, organisation_id: str) -> None:
    now = utc_now()
    _, lasting = make(database, organisation_id, expires_at=now + timedelta(hours=1))
    _, expired = make(database, organisation_id, expires_at=now - timedelta(seconds=1))
    with database.read() as session:
        authenticate(session, lasting)
        with pytest.raises(NotAuthenticated, match="expired"):
            authenticate(session, expired)


def test_a_revoked_key_ends_at_once_and_its_end_is_dated_once(
    database: Database, organisation_id: str
) -> None:
    row, key = make(database, organisation_id)
    ends = []
    for _ in range(2):
        with database.write() as session:
            ends.append(revoke_key(session, organisation_id, row.id).revoked_at)
    assert ends[0] is not None
    assert ends[0] == ends[1]
    with database.read() as session, pytest.raises(NotAuthenticated):
        authenticate(session, key)


def test_another_organisations_key_cannot_be_revoked(
    database: Database, organisation_id: str
) -> None:
    row, key = make(database, organisation_id)
    with database.write() as session:
        session.add(OrganisationRow(id="org_other", name="other"))
    with database.write() as session, pytest.raises(KeyNotFound):
        revoke_key(session, "org_other", row.id)
    with database.read() as session:
        authenticate(session, key)


@pytest.mark.parametrize("given", ["secret", "mp_short", "no-prefix-but-long-enough-0123456789"])
def test_a_given_key_that_is_no_secret_is_refused(
    database: Database, organisation_id: str, given: str
) -> None:
    with pytest.raises(InvalidInput, match="at least 24 characters"):
        make(database, organisation_id, key=given)


def test_a_scope_that_the_key_lacks_is_named(database: Database, organisation_id: str) -> None:
    _, key = make(database, organisation_id, scopes=[Scope.PREDICT])
    with database.read() as session:
        caller = authenticate(session, key)
    require(caller, Scope.PREDICT)
    with pytest.raises(NotAllowed, match="keys:admin"):
        require(caller, Scope.KEYS_ADMIN)
