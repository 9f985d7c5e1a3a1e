"""The keys of sealed validation sets, each for as long as its build is not over."""

from datetime import datetime, timedelta

from sqlalchemy import Integer, LargeBinary, String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from pool.database.tables import Base, BuildRow, JobRow
from pool.domain import utc_now

RESERVED_FOR = timedelta(hours=1)
"""How long an order may take from its first byte stored to its build."""


class BuildValidationRow(Base):
    """A validation set that came with an order; it lies sealed in the object store."""

    __tablename__ = "build_validations"

    build_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    """Of a build that may not exist yet: the set is stored first."""
    key: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """None until the build is created: what a crash leaves behind nobody can open."""
    n_images: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


def forget_key(session: Session, job_id: str) -> None:
    """The job is over, however it ended: nobody can open its validation set any more."""
    build_id = select(JobRow.subject_id).where(JobRow.id == job_id).scalar_subquery()
    session.execute(delete(BuildValidationRow).where(BuildValidationRow.build_id == build_id))


def forget_reservations(session: Session) -> int:
    """Drop those whose order never became a build; how many."""
    old = BuildValidationRow.created_at < utc_now() - RESERVED_FOR
    built = select(BuildRow.id).where(BuildRow.id == BuildValidationRow.build_id).exists()
    dropped = session.scalars(
        delete(BuildValidationRow).where(old, ~built).returning(BuildValidationRow.build_id)
    )
    return len(list(dropped))
