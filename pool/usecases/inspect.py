"""What an inspection decides about a model."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from pool.database.audit import Act, record
from pool.database.fingerprints import FingerprintRow
from pool.database.tables import ModelRow
from pool.domain import Fingerprint, ModelStatus, utc_now

UNDER_INSPECTION = (ModelStatus.RECEIVED, ModelStatus.INSPECTING)


def begin_inspection(session: Session, model_id: str) -> ModelRow | None:
    """received -> inspecting; None when the model was withdrawn meanwhile."""
    return session.scalar(
        update(ModelRow)
        .where(ModelRow.id == model_id, ModelRow.status.in_(UNDER_INSPECTION))
        .values(status=ModelStatus.INSPECTING, updated_at=utc_now())
        .returning(ModelRow)
    )


def accept_model(
    session: Session,
    model_id: str,
    *,
    object_key: str,
    canonical_sha256: str,
    source_format: str,
    n_parameters: int,
    fingerprint: Fingerprint | None = None,
    reliability: float | None = None,
) -> bool:
    """inspecting -> ready, now pointing at its canonical weights; False when it was withdrawn."""
    accepted = session.scalars(
        update(ModelRow)
        .where(ModelRow.id == model_id, ModelRow.status.in_(UNDER_INSPECTION))
        .values(
            status=ModelStatus.READY,
            object_key=object_key,
            canonical_sha256=canonical_sha256,
            source_format=source_format,
            n_parameters=n_parameters,
            reliability=reliability,
            updated_at=utc_now(),
        )
        .returning(ModelRow)
    ).one_or_none()
    if accepted is not None:
        if fingerprint is not None:
            session.merge(
                FingerprintRow(
                    model_id=model_id, version=fingerprint.version, vector=fingerprint.vector
                )
            )
        _record(session, Act.MODEL_ACCEPTED, accepted, detail=canonical_sha256)
    return accepted is not None


def reject_model(session: Session, model_id: str, *, code: str, reason: str, recipe: str) -> None:
    """inspecting -> rejected, with the reason and what its uploader can do."""
    rejected = session.scalars(
        update(ModelRow)
        .where(ModelRow.id == model_id, ModelRow.status.in_(UNDER_INSPECTION))
        .values(
            status=ModelStatus.REJECTED,
            reason_code=code,
            reason=reason,
            recipe=recipe,
            object_key=None,
            updated_at=utc_now(),
        )
        .returning(ModelRow)
    ).one_or_none()
    if rejected is not None:
        _record(session, Act.MODEL_REJECTED, rejected, detail=code)


def _record(session: Session, act: Act, model: ModelRow, *, detail: str) -> None:
    record(
        session,
        act,
        model.id,
        pool_id=model.pool_id,
        organisation_id=model.organisation_id,
        detail=detail,
    )
