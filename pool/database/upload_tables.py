"""The table of resumable uploads."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from pool.database.tables import Base, PoolRow
from pool.domain import UploadStatus, utc_now


class UploadRow(Base):
    """A checkpoint that arrives in parts. Which parts are there, the part store knows."""

    __tablename__ = "uploads"
    __table_args__ = (
        Index("ix_uploads_organisation_id_created_at_id", "organisation_id", "created_at", "id"),
        Index("ix_uploads_organisation_id_status", "organisation_id", "status"),
        Index("ix_uploads_status_expires_at", "status", "expires_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    pool_id: Mapped[str] = mapped_column(ForeignKey("pools.id"))
    status: Mapped[UploadStatus] = mapped_column(String(20), default=UploadStatus.OPEN)
    reason: Mapped[str | None] = mapped_column(Text)
    """Why it failed, or why its last completion did."""
    reason_code: Mapped[str | None] = mapped_column(String(80))
    manifest: Mapped[dict[str, Any]]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    part_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    """As announced."""
    token: Mapped[str] = mapped_column(String(1024), index=True)
    """What the part store calls it; empty if it never had parts."""
    reserved_id: Mapped[str] = mapped_column(String(40), unique=True)
    """What its model will be called, and so where its bytes wait for the airlock."""
    model_id: Mapped[str | None] = mapped_column(String(40))
    """The model it became: its own, or the one that these bytes were already."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
    expires_at: Mapped[datetime]

    pool: Mapped[PoolRow] = relationship(lazy="joined", innerjoin=True)
