"""Take a model back: its bytes go, and what learnt from it is marked."""

import logging
from functools import partial

from sqlalchemy import delete
from sqlalchemy.orm import Session

from pool.database import jobs, repository
from pool.database.audit import Act, record
from pool.database.fingerprints import FingerprintRow
from pool.database.session import do_after_commit
from pool.database.tables import MetaLearnerRow, ModelRow
from pool.database.visible import require_role
from pool.domain import ENSEMBLE, LIVE_MODELS, MetaLearnerStatus, ModelStatus, utc_now
from pool.errors import ModelInUse, StorageUnavailable
from pool.roles import Action
from pool.storage.store import ObjectStore

log = logging.getLogger(__name__)


def withdraw_model(
    session: Session, store: ObjectStore, organisation_id: str, model_id: str
) -> ModelRow:
    """Delete the model's bytes, cancel builds over it, taint meta-learners that learnt from it.

    Tainting does not unlearn: only a build without the model does that exactly. An ensemble holds
    the model's weights themselves, so it is retired and deleted; another is built in seconds.
    Whoever contributed a model can always withdraw it, also after leaving the pool. Bytes go after
    the commit: a record never names an object that is gone. Should this process or the store die
    between the two, the look for orphans deletes them.

    Raises:
        ModelNotFound: no such model.
        RoleRequired: it is another member's, and the organisation is no curator.
        ModelInUse: it is not there any more (rejected or withdrawn).
        StorageUnavailable: the store does not answer; nothing was changed.
    """
    model = repository.find_model(session, organisation_id, model_id, lock=True)
    if model.organisation_id != organisation_id:
        require_role(session, organisation_id, model.pool, Action.CURATE)
    if model.status not in LIVE_MODELS:
        raise ModelInUse(f"The model is {model.status}; its bytes are gone already.")
    store.ping()
    for build in repository.unfinished_builds_over(session, model.id):
        jobs.cancel(session, build.job_id)
    for learner in repository.meta_learners_learnt_from(session, model.id):
        before, learner.status = learner.status, status_without(learner)
        if learner.backbone == ENSEMBLE:
            do_after_commit(session, partial(_delete, store, learner.object_key))
            _record(session, Act.META_LEARNER_RETIRED, learner)
        elif learner.status != before:
            _record(session, Act.META_LEARNER_TAINTED, learner)
    if model.object_key is not None:
        do_after_commit(session, partial(_delete, store, model.object_key))
    session.execute(delete(FingerprintRow).where(FingerprintRow.model_id == model.id))
    model.status = ModelStatus.WITHDRAWN
    model.object_key = None
    model.reliability = None
    model.updated_at = utc_now()
    session.flush()
    _record(session, Act.MODEL_WITHDRAWN, model)
    return model


def status_without(learner: MetaLearnerRow) -> MetaLearnerStatus:
    """What a meta-learner becomes when a model that it learnt from is withdrawn."""
    if learner.backbone == ENSEMBLE:
        return MetaLearnerStatus.RETIRED
    if learner.status == MetaLearnerStatus.ACTIVE:
        return MetaLearnerStatus.TAINTED
    return learner.status


def _delete(store: ObjectStore, key: str) -> None:
    try:
        store.delete(key)
    except StorageUnavailable as error:
        said = {"cause": type(error).__name__}
        log.warning("a withdrawn object stays until the look for orphans", extra=said)


def _record(session: Session, act: Act, row: ModelRow | MetaLearnerRow) -> None:
    record(session, act, row.id, pool_id=row.pool_id, organisation_id=row.organisation_id)
