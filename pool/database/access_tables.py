"""The tables of access: which organisation has which role in which pool."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from pool.database.tables import Base
from pool.domain import utc_now
from pool.roles import Role


class PoolMemberRow(Base):
    """One role of one organisation in one pool; a member is whoever has at least one."""

    __tablename__ = "pool_members"

    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), primary_key=True)
    pool_id: Mapped[str] = mapped_column(ForeignKey("pools.id"), primary_key=True, index=True)
    role: Mapped[Role] = mapped_column(String(20), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
