"""The table of signs of life."""

from datetime import datetime

from sqlalchemy import Boolean, String
from sqlalchemy.orm import Mapped, mapped_column

from pool.database.tables import Base
from pool.domain import utc_now


class HeartbeatRow(Base):
    """The last sign of life of a worker process, or of the sweep."""

    __tablename__ = "heartbeats"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    queues: Mapped[list[str]]
    device: Mapped[str | None] = mapped_column(String(200))
    """What a worker of the queue `gpu` computes on; None until it has looked."""
    device_ok: Mapped[bool] = mapped_column(Boolean, default=True)
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    seen_at: Mapped[datetime] = mapped_column(default=utc_now)
