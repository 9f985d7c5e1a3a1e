"""The tables of limits: kept answers of idempotent requests, quotas, counted predictions."""

from datetime import date, datetime

from sqlalchemy import BigInteger, Date, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from pool.database.tables import Base
from pool.domain import utc_now


class IdempotencyKeyRow(Base):
    """A request that was sent under an Idempotency-Key: at work, or answered.

    Of the key only its SHA-256 is kept: clients may put anything into it.
    """

    __tablename__ = "idempotency_keys"

    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), primary_key=True)
    key_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of method, path and body: what the key stands for."""
    holder: Mapped[str] = mapped_column(String(40))
    """Names the request at work: one that lost its lease cannot commit what it created."""
    lease_until: Mapped[datetime]
    status: Mapped[int | None] = mapped_column(Integer)
    """Of the answer; none yet while the request is at work."""
    body: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class QuotaRow(Base):
    """What one organisation may use, where it differs from the deployment's settings."""

    __tablename__ = "quotas"

    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), primary_key=True)
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    live_models: Mapped[int | None] = mapped_column(Integer)
    concurrent_builds: Mapped[int | None] = mapped_column(Integer)
    predictions_per_day: Mapped[int | None] = mapped_column(Integer)


class PredictionCountRow(Base):
    """How many few-shot requests an organisation made on a day (UTC); nothing about them."""

    __tablename__ = "prediction_counts"

    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    count: Mapped[int] = mapped_column(Integer)
