"""What an organisation may use: checked in the transaction that uses it, so none overruns.

Every check that creates locks the organisation's row first, so that creations of one organisation
take turns from there to their commit; SQLite's writers take turns anyway. Predictions, which no
transaction spans, are counted by one conditional upsert instead.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import CursorResult, delete, func, select
from sqlalchemy.orm import Session

from pool.database.limit_tables import PredictionCountRow, QuotaRow
from pool.database.tables import BuildRow, JobRow, MetaLearnerRow, ModelRow, OrganisationRow
from pool.database.upload_tables import UploadRow
from pool.database.upsert import upsert
from pool.domain import (
    LIVE_MODELS,
    UPLOADS_UNDER_WAY,
    JobStatus,
    MetaLearnerStatus,
    utc_now,
)
from pool.errors import QuotaExceeded
from pool.settings import Settings

FREED_BY_HAND_S = 3600
"""Waiting frees no stored model; this is when asking again stops being a nuisance."""
BUILD_POLL_S = 5
BUILD_WAIT_S = 300
"""Between these two the running builds' estimates say when one will have ended."""
COUNTS_KEPT_DAYS = 31
UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """How much an organisation may use."""

    stored_bytes: int
    live_models: int
    concurrent_builds: int
    predictions_per_day: int

    @classmethod
    def of_deployment(cls, settings: Settings) -> "Quotas":
        """The defaults for every organisation."""
        return cls(
            stored_bytes=settings.quota_bytes,
            live_models=settings.quota_models,
            concurrent_builds=settings.quota_builds,
            predictions_per_day=settings.quota_predictions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an organisation may use and does use; the two have the same fields."""

    limits: Quotas
    used: Quotas


def usage(session: Session, organisation_id: str, defaults: Quotas) -> Usage:
    """Limits and present use."""
    return Usage(
        limits=quotas_of(session, organisation_id, defaults),
        used=Quotas(
            stored_bytes=_stored_bytes(session, organisation_id),
            live_models=_live_models(session, organisation_id),
            concurrent_builds=_unfinished_builds(session, organisation_id),
            predictions_per_day=_predictions(session, organisation_id, _today()),
        ),
    )


def quotas_of(session: Session, organisation_id: str, defaults: Quotas) -> Quotas:
    """The organisation's quotas: its own where it has some, else the deployment's."""
    row = session.get(QuotaRow, organisation_id)
    if row is None:
        return defaults
    own = {name: getattr(row, name) for name in Quotas.__dataclass_fields__}
    return Quotas(
        **{name: getattr(defaults, name) if value is None else value for name, value in own.items()}
    )


def check_room(session: Session, organisation_id: str, defaults: Quotas, *, size: int) -> None:
    """Return if one more model of `size` bytes would fit now; asked before its bytes are taken.

    Raises:
        QuotaExceeded: of models or of bytes.
    """
    _check_models(
        quotas_of(session, organisation_id, defaults),
        models=_live_models(session, organisation_id) + 1,
        stored=_stored_bytes(session, organisation_id) + size,
        size=size,
    )


def check_new(session: Session, added: ModelRow | UploadRow, defaults: Quotas) -> None:
    """Return if a model or an upload that this transaction added fits its organisation's quotas.

    An upload under way takes the room of the model that it will be, so completing it needs none.

    Raises:
        QuotaExceeded: of models or of bytes; let the transaction roll back.
    """
    session.flush()
    take_turns(session, added.organisation_id)
    _check_models(
        quotas_of(session, added.organisation_id, defaults),
        models=_live_models(session, added.organisation_id),
        stored=_stored_bytes(session, added.organisation_id),
        size=added.size_bytes,
    )


def _check_models(quotas: Quotas, *, models: int, stored: int, size: int) -> None:
    """Both counts include the model in question."""
    if models > quotas.live_models:
        raise QuotaExceeded(
            f"Your organisation has {models - 1:,} of {quotas.live_models:,} live models, uploads "
            "under way included. Withdraw some (DELETE /v1/models/{id}, /v1/uploads/{id}), or ask "
            "the operator for more; waiting frees none.",
            retry_after_s=FREED_BY_HAND_S,
        )
    if stored > quotas.stored_bytes:
        raise QuotaExceeded(
            f"Your organisation stores {stored - size:,} of {quotas.stored_bytes:,} bytes, and "
            f"this needs {size:,} more. Withdraw models (DELETE /v1/models/{{id}}) or uploads "
            "(DELETE /v1/uploads/{id}), or ask the operator for more; waiting frees none.",
            retry_after_s=FREED_BY_HAND_S,
        )


def check_build(session: Session, organisation_id: str, defaults: Quotas) -> None:
    """Take turns, then return if the organisation may have one more build under way.

    Raises:
        QuotaExceeded: so many are queued or running.
    """
    take_turns(session, organisation_id)
    quotas = quotas_of(session, organisation_id, defaults)
    builds = _unfinished_builds(session, organisation_id)
    if builds >= quotas.concurrent_builds:
        raise QuotaExceeded(
            f"Your organisation has {builds:,} of {quotas.concurrent_builds:,} builds queued or "
            "running. Wait until one ends, or cancel one (POST /v1/builds/{id}/cancel).",
            retry_after_s=_until_a_build_ends(session, organisation_id),
        )


def count_prediction(session: Session, organisation_id: str, defaults: Quotas) -> None:
    """Count one few-shot request of today.

    Raises:
        QuotaExceeded: there were as many as a day has; this one is not counted.
    """
    quotas = quotas_of(session, organisation_id, defaults)
    today = _today()
    counted = None
    if quotas.predictions_per_day > 0:
        counted = session.scalar(
            upsert(session, PredictionCountRow)
            .values(organisation_id=organisation_id, day=today, count=1)
            .on_conflict_do_update(
                index_elements=[PredictionCountRow.organisation_id, PredictionCountRow.day],
                set_={"count": PredictionCountRow.count + 1},
                where=PredictionCountRow.count < quotas.predictions_per_day,
            )
            .returning(PredictionCountRow.count)
        )
    if counted is None:
        raise QuotaExceeded(
            f"Your organisation has made all {quotas.predictions_per_day:,} few-shot requests of "
            "today (UTC). Go on tomorrow, or ask the operator for more.",
            retry_after_s=_until_midnight(today),
        )


def take_turns(session: Session, organisation_id: str) -> None:
    """Let creations of one organisation wait for each other until this transaction ends.

    The weaker FOR NO KEY UPDATE, since rows that merely refer to the organisation need not wait.
    """
    session.execute(
        select(OrganisationRow.id)
        .where(OrganisationRow.id == organisation_id)
        .with_for_update(key_share=True)
    )


def forget_old_counts(session: Session) -> int:
    """Delete the counts of days long past; how many there were."""
    before = _today() - timedelta(days=COUNTS_KEPT_DAYS)
    result = session.execute(delete(PredictionCountRow).where(PredictionCountRow.day < before))
    assert isinstance(result, CursorResult)
    return result.rowcount


def _live_models(session: Session, organisation_id: str) -> int:
    """Those that are there, and those that uploads under way will be."""
    models = select(func.count()).where(
        ModelRow.organisation_id == organisation_id, ModelRow.status.in_(LIVE_MODELS)
    )
    uploads = select(func.count()).where(
        UploadRow.organisation_id == organisation_id, UploadRow.status.in_(UPLOADS_UNDER_WAY)
    )
    return (session.scalar(models) or 0) + (session.scalar(uploads) or 0)


def _stored_bytes(session: Session, organisation_id: str) -> int:
    """Of live models as uploaded, of meta-learners, and announced by uploads under way.

    The canonical weights are about as large as what was uploaded.
    """
    models = select(func.sum(ModelRow.size_bytes)).where(
        ModelRow.organisation_id == organisation_id, ModelRow.status.in_(LIVE_MODELS)
    )
    learners = select(func.sum(MetaLearnerRow.size_bytes)).where(
        MetaLearnerRow.organisation_id == organisation_id,
        MetaLearnerRow.status != MetaLearnerStatus.RETIRED,
    )
    uploads = select(func.sum(UploadRow.size_bytes)).where(
        UploadRow.organisation_id == organisation_id, UploadRow.status.in_(UPLOADS_UNDER_WAY)
    )
    return sum(int(session.scalar(each) or 0) for each in (models, learners, uploads))


def _unfinished_builds(session: Session, organisation_id: str) -> int:
    query = (
        select(func.count())
        .select_from(JobRow)
        .join(BuildRow, BuildRow.job_id == JobRow.id)
        .where(BuildRow.organisation_id == organisation_id, JobRow.status.in_(UNFINISHED))
    )
    return session.scalar(query) or 0


def _until_a_build_ends(session: Session, organisation_id: str) -> int:
    soonest = session.scalar(
        select(func.min(JobRow.eta_s))
        .join(BuildRow, BuildRow.job_id == JobRow.id)
        .where(BuildRow.organisation_id == organisation_id, JobRow.status.in_(UNFINISHED))
    )
    return BUILD_POLL_S if soonest is None else min(max(BUILD_POLL_S, int(soonest)), BUILD_WAIT_S)


def _predictions(session: Session, organisation_id: str, day: date) -> int:
    row = session.get(PredictionCountRow, (organisation_id, day))
    return 0 if row is None else row.count


def _today() -> date:
    return utc_now().date()


def _until_midnight(day: date) -> int:
    tomorrow = datetime.combine(day + timedelta(days=1), time(), UTC)
    return max(1, int((tomorrow - utc_now()).total_seconds()) + 1)
