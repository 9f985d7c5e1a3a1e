"""Signs of life of workers and of the sweep, for probes and metrics: information, never a lock."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from pool.database.heartbeat_tables import HeartbeatRow
from pool.domain import utc_now

SWEEP = "sweep"
"""The id under which the sweep gives signs of life."""
MISSED = 3
"""Beats after whose absence something counts as gone."""
FORGOTTEN_AFTER = timedelta(days=1)


def beat(
    session: Session,
    name: str,
    *,
    queues: Sequence[str] = (),
    device: str | None = None,
    device_ok: bool = True,
) -> None:
    """Something by this name is alive now; what was silent for a day is forgotten."""
    now = utc_now()
    known = session.execute(
        update(HeartbeatRow)
        .where(HeartbeatRow.id == name)
        .values(seen_at=now, queues=list(queues), device=device, device_ok=device_ok)
        .returning(HeartbeatRow.id)
    ).one_or_none()
    if known is None:
        session.execute(delete(HeartbeatRow).where(HeartbeatRow.seen_at < now - FORGOTTEN_AFTER))
        session.add(HeartbeatRow(id=name, queues=list(queues), device=device, device_ok=device_ok))


def stopped(session: Session, name: str) -> None:
    """It ended in good order."""
    session.execute(delete(HeartbeatRow).where(HeartbeatRow.id == name))


def living_workers(session: Session, *, heartbeat_s: float) -> list[HeartbeatRow]:
    """Workers that gave a sign of life lately."""
    since = utc_now() - timedelta(seconds=MISSED * heartbeat_s)
    return list(
        session.scalars(
            select(HeartbeatRow)
            .where(HeartbeatRow.seen_at >= since, HeartbeatRow.id != SWEEP)
            .order_by(HeartbeatRow.id)
        )
    )


def last_sweep(session: Session) -> datetime | None:
    """When abandoned jobs were last looked for; None if never."""
    return session.scalar(select(HeartbeatRow.seen_at).where(HeartbeatRow.id == SWEEP))
