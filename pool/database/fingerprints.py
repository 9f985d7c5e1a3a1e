"""How models arrange drawn pictures, and which models of a pool have a place on its map."""

from collections.abc import Sequence

from sqlalchemy import ForeignKey, LargeBinary, func, select
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column

from pool.database.tables import Base, ModelRow
from pool.domain import ModelStatus

MOST_ON_A_MAP = 1000


class FingerprintRow(Base):
    """How a ready model arranges pictures drawn by chance (ml.fingerprint); it goes with it."""

    __tablename__ = "model_fingerprints"

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    version: Mapped[int]
    vector: Mapped[bytes] = mapped_column(LargeBinary(4096))
    """float32, little-endian."""


def placed_models(
    session: Session, pool_id: str
) -> tuple[Sequence[tuple[ModelRow, FingerprintRow]], int]:
    """A pool's ready models and their fingerprints, and how many ready models there are in all.

    Of more than MOST_ON_A_MAP, those that come first by their content: always the same ones. Only
    fingerprints of the newest version there is; others cannot be compared with them.
    """
    ready = (ModelRow.pool_id == pool_id, ModelRow.status == ModelStatus.READY)
    count = session.scalar(select(func.count()).select_from(ModelRow).where(*ready)) or 0
    rows = session.execute(
        select(ModelRow, FingerprintRow)
        .join(FingerprintRow, FingerprintRow.model_id == ModelRow.id)
        .where(*ready)
        .options(joinedload(ModelRow.pool))
        .order_by(ModelRow.canonical_sha256, ModelRow.id)
        .limit(MOST_ON_A_MAP)
    ).all()
    newest = max((print_.version for _, print_ in rows), default=0)
    return [(model, print_) for model, print_ in rows if print_.version == newest], count
