"""The tables of the audit trail: one row an event, each holding the digest of the one before."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from pool.database.tables import Base


class AuditEventRow(Base):
    """What happened; written once. No foreign key: the trail outlives what it speaks of."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_pool_id_seq", "pool_id", "seq"),
        Index("ix_audit_events_organisation_id_seq", "organisation_id", "seq"),
    )

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    organisation_id: Mapped[str | None] = mapped_column(String(40))
    """Who acted; of what the server did by itself, whose it is."""
    key_id: Mapped[str | None] = mapped_column(String(40))
    """None where the server or its operator acted."""
    action: Mapped[str] = mapped_column(String(40))
    pool_id: Mapped[str | None] = mapped_column(String(40))
    object_id: Mapped[str] = mapped_column(String(40))
    request_id: Mapped[str | None] = mapped_column(String(40))
    detail: Mapped[str | None] = mapped_column(String(200))
    """Roles, a state, the code of a reason: words of ours, never a client's."""
    previous_sha256: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))


class AuditHeadRow(Base):
    """Where the chain ends: one row, locked by whoever appends."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
