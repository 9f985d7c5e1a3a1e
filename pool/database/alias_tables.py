"""The tables of aliases: a name in a pool that points at a meta-learner, and every move of it."""

from datetime import datetime

from sqlalchemy import ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pool.database.tables import Base
from pool.domain import utc_now


class AliasRow(Base):
    """A name that can move; removed, it points nowhere and keeps its history."""

    __tablename__ = "aliases"
    __table_args__ = (UniqueConstraint("pool_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    pool_id: Mapped[str] = mapped_column(ForeignKey("pools.id"))
    name: Mapped[str] = mapped_column(String(100))
    meta_learner_id: Mapped[str | None] = mapped_column(ForeignKey("meta_learners.id"), index=True)
    n_moves: Mapped[int] = mapped_column(Integer, default=0)
    moved_at: Mapped[datetime] = mapped_column(default=utc_now)


class AliasMoveRow(Base):
    """Where an alias pointed from then until its next move; None: nowhere."""

    __tablename__ = "alias_moves"

    alias_id: Mapped[str] = mapped_column(ForeignKey("aliases.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    meta_learner_id: Mapped[str | None] = mapped_column(ForeignKey("meta_learners.id"))
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    """Whose key moved it."""
    note: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default=utc_now)
