"""Requests that a client may send again: who works on a key, and the answer that is kept.

Three steps, each a compare-and-swap on one row: `claim` before anything is created, in a
transaction of its own, so that others see the request at work; `keep` in the very transaction that
creates, so that the thing and its answer are committed together or not at all; `release` when the
request was refused, for then nothing was created. A process that dies between claiming and keeping
has committed nothing: its lease ends and the next request takes the key over. If it was only slow,
its `keep` finds another holder and its transaction is rolled back (ADR 10).
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, CursorResult, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from pool.database.limit_tables import IdempotencyKeyRow
from pool.database.upsert import insert_if_absent
from pool.domain import new_id, utc_now
from pool.errors import IdempotencyKeyReused, RequestInFlight

LEASE_S = 60.0
"""How long a key stays with a request whose process died. A slower live one is only overtaken if
its client sends it again meanwhile."""
KEPT_S = 24 * 3600.0
"""How long an answer can be asked for again."""
ASK_AGAIN_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to do what a key stands for; `holder` fences it."""

    organisation_id: str
    key_sha256: str
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """What the first request was answered."""

    status: int
    body: str


def claim(
    session: Session, organisation_id: str, key: str, *, fingerprint: str
) -> Claim | KeptAnswer:
    """The right to go on, or the answer of the request that went on before.

    Raises:
        IdempotencyKeyReused: the key stands for another request.
        RequestInFlight: the first request is still at work.
    """
    now = utc_now()
    mine = Claim(
        organisation_id=organisation_id,
        key_sha256=_digest(key),
        holder=new_id("req"),
    )
    fresh = {
        "fingerprint": fingerprint,
        "holder": mine.holder,
        "lease_until": now + timedelta(seconds=LEASE_S),
        "status": None,
        "body": None,
        "created_at": now,
        "expires_at": now + timedelta(seconds=KEPT_S),
    }
    identity = {"organisation_id": organisation_id, "key_sha256": mine.key_sha256}
    if insert_if_absent(session, IdempotencyKeyRow, identity | fresh):
        return mine
    died = and_(
        IdempotencyKeyRow.status.is_(None),
        IdempotencyKeyRow.lease_until <= now,
        IdempotencyKeyRow.fingerprint == fingerprint,
    )
    taken_over = session.execute(
        update(IdempotencyKeyRow)
        .where(*_is(mine), or_(IdempotencyKeyRow.expires_at <= now, died))
        .values(**fresh)
        .returning(IdempotencyKeyRow.holder)
    ).one_or_none()
    return mine if taken_over is not None else _kept(session, mine, fingerprint)


def is_known(session: Session, organisation_id: str, key: str) -> bool:
    """Whether the key was sent before, so that a request under it may create nothing new."""
    query = select(IdempotencyKeyRow.holder).where(
        IdempotencyKeyRow.organisation_id == organisation_id,
        IdempotencyKeyRow.key_sha256 == _digest(key),
    )
    return session.scalar(query) is not None


def _kept(session: Session, mine: Claim, fingerprint: str) -> KeptAnswer:
    row = session.scalar(select(IdempotencyKeyRow).where(*_is(mine)))
    if row is not None and row.fingerprint != fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was sent with another request; make a new key for each request, "
            "and send the same method, path and body when you repeat one."
        )
    if row is None or row.status is None or row.body is None:
        raise RequestInFlight(
            "The first request with this Idempotency-Key is still at work; send it again later.",
            retry_after_s=ASK_AGAIN_S,
        )
    return KeptAnswer(status=row.status, body=row.body)


def keep(session: Session, claim: Claim, answer: KeptAnswer) -> None:
    """Keep the answer; called in the transaction that creates what it speaks of.

    Raises:
        RequestInFlight: a later request took the key over; let the transaction roll back.
    """
    kept = session.execute(
        update(IdempotencyKeyRow)
        .where(*_is(claim), *_still_at_work(claim))
        .values(status=answer.status, body=answer.body)
        .returning(IdempotencyKeyRow.holder)
    ).one_or_none()
    if kept is None:
        raise RequestInFlight(
            "Another request with this Idempotency-Key took over; send it again later.",
            retry_after_s=ASK_AGAIN_S,
        )


def release(session: Session, claim: Claim) -> None:
    """Give the key back unused: the request was refused, and created nothing."""
    session.execute(delete(IdempotencyKeyRow).where(*_is(claim), *_still_at_work(claim)))


def forget_expired(session: Session) -> int:
    """Delete the answers that are no longer kept; how many there were."""
    result = session.execute(
        delete(IdempotencyKeyRow).where(IdempotencyKeyRow.expires_at <= utc_now())
    )
    assert isinstance(result, CursorResult)
    return result.rowcount


def _is(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        IdempotencyKeyRow.organisation_id == claim.organisation_id,
        IdempotencyKeyRow.key_sha256 == claim.key_sha256,
    )


def _still_at_work(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return IdempotencyKeyRow.holder == claim.holder, IdempotencyKeyRow.status.is_(None)


def _digest(key: str) -> str:
    """Of the key's text: the draft's header is a quoted string, which most clients send bare."""
    text = key[1:-1] if len(key) > 2 and key[0] == key[-1] == '"' else key
    return hashlib.sha256(text.encode()).hexdigest()
