"""What happened, as a chain: each event's digest covers its own fields and the digest before.

`record` notes an event; the session appends what it noted as its last act before it commits, so
that an event is there if and only if what it records is. Appending locks the chain's head: last,
so that no other lock is waited for meanwhile, and writers form one chain on every database.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from pool.actors import actor
from pool.database.audit_tables import AuditEventRow, AuditHeadRow
from pool.database.tables import BuildRow
from pool.database.upsert import insert_if_absent
from pool.domain import utc_now

BEGINNING = "0" * 64
"""The digest before the first event."""
HEAD = 1
PENDING = "audit"


class Act(StrEnum):
    """What is recorded."""

    ORGANISATION_ADDED = "organisation-added"
    KEY_MADE = "key-made"
    KEY_ROTATED = "key-rotated"
    KEY_REVOKED = "key-revoked"
    POOL_MADE = "pool-made"
    MEMBER_CHANGED = "member-changed"
    MEMBER_REMOVED = "member-removed"
    MODEL_UPLOADED = "model-uploaded"
    MODEL_ACCEPTED = "model-accepted"
    MODEL_REJECTED = "model-rejected"
    MODEL_WITHDRAWN = "model-withdrawn"
    BUILD_REQUESTED = "build-requested"
    BUILD_CANCELED = "build-canceled"
    BUILD_ENDED = "build-ended"
    META_LEARNER_DELIVERED = "meta-learner-delivered"
    META_LEARNER_EXPORTED = "meta-learner-exported"
    META_LEARNER_TAINTED = "meta-learner-tainted"
    META_LEARNER_RETIRED = "meta-learner-retired"
    ALIAS_MOVED = "alias-moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The first event at which the chain does not hold, and why."""

    seq: int
    why: str


def record(
    session: Session,
    act: Act,
    object_id: str,
    *,
    organisation_id: str,
    pool_id: str | None = None,
    detail: str | None = None,
) -> None:
    """Note an event of this transaction.

    Args:
        session: the transaction's.
        act: what happened.
        object_id: to what.
        organisation_id: whose the object is; recorded where no caller acted.
        pool_id: in which pool, so that its auditors see it.
        detail: words of ours.
    """
    who = actor()
    event = AuditEventRow(
        at=utc_now(),
        organisation_id=who.organisation_id or organisation_id,
        key_id=who.key_id,
        action=act,
        pool_id=pool_id,
        object_id=object_id,
        request_id=who.request_id,
        detail=detail,
    )
    session.info.setdefault(PENDING, []).append(event)


def record_end_of_build(session: Session, job_id: str, status: str) -> None:
    """Note how a build ended, if the job is a build's."""
    build = session.execute(
        select(BuildRow.id, BuildRow.pool_id, BuildRow.organisation_id).where(
            BuildRow.job_id == job_id
        )
    ).one_or_none()
    if build is not None:
        record(
            session,
            Act.BUILD_ENDED,
            build.id,
            pool_id=build.pool_id,
            organisation_id=build.organisation_id,
            detail=status,
        )


def append_recorded(session: Session) -> None:
    """Append what was noted to the chain; the last thing a transaction does."""
    events: list[AuditEventRow] = session.info.pop(PENDING, [])
    if not events:
        return
    session.flush()
    head = _locked_head(session)
    for event in events:
        event.seq, event.previous_sha256 = head.seq + 1, head.sha256
        event.sha256 = digest(event)
        head.seq, head.sha256 = event.seq, event.sha256
        session.add(event)
    session.flush()


def _locked_head(session: Session) -> AuditHeadRow:
    query = select(AuditHeadRow).where(AuditHeadRow.id == HEAD).with_for_update()
    head = session.scalar(query)
    if head is None:
        insert_if_absent(session, AuditHeadRow, {"id": HEAD, "seq": 0, "sha256": BEGINNING})
        head = session.scalars(query).one()
    return head


def digest(event: AuditEventRow) -> str:
    """SHA-256 of the event's fields and the digest before it, as compact JSON."""
    fields = [
        event.seq,
        event.at.isoformat(timespec="microseconds"),
        event.organisation_id,
        event.key_id,
        str(event.action),
        event.pool_id,
        event.object_id,
        event.request_id,
        event.detail,
        event.previous_sha256,
    ]
    text = json.dumps(fields, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def first_broken(events: Iterable[AuditEventRow], head: AuditHeadRow | None) -> Broken | None:
    """Where the chain, read in order, stops holding; None where it holds to its head."""
    seq, sha256 = 0, BEGINNING
    for event in events:
        if event.seq != seq + 1:
            return Broken(seq=seq + 1, why="it is missing")
        if event.previous_sha256 != sha256:
            return Broken(seq=event.seq, why="it does not follow the event before it")
        if event.sha256 != digest(event):
            return Broken(seq=event.seq, why="it was altered")
        seq, sha256 = event.seq, event.sha256
    if (head.seq, head.sha256) != (seq, sha256) if head is not None else seq > 0:
        return Broken(seq=seq + 1, why="the chain's head speaks of another end")
    return None
