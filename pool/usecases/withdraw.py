"""Take a model back: its bytes go, and what learnt from it is marked."""

from sqlalchemy.orm import Session

from pool.database import jobs, repository
from pool.database.audit import Act, record
from pool.database.tables import MetaLearnerRow, ModelRow
from pool.database.visible import require_role
from pool.domain import ENSEMBLE, LIVE_MODELS, MetaLearnerStatus, ModelStatus, utc_now
from pool.errors import ModelInUse
from pool.roles import Action
from pool.storage.store import ObjectStore


def withdraw_model(
    session: Session, store: ObjectStore, organisation_id: str, model_id: str
) -> ModelRow:
    """Delete the model's bytes, cancel builds over it, taint meta-learners that learnt from it.

    Tainting does not unlearn: only a build without the model does that exactly. An ensemble holds
    the model's weights themselves, so it is retired and deleted; another is built in seconds.
    Whoever contributed a model can always withdraw it, also after leaving the pool.

    Raises:
        ModelNotFound: no such model.
        RoleRequired: it is another member's, and the organisation is no curator.
        ModelInUse: it is not there any more (rejected or withdrawn).
    """
    model = repository.find_model(session, organisation_id, model_id, lock=True)
    if model.organisation_id != organisation_id:
        require_role(session, organisation_id, model.pool, Action.CURATE)
    if model.status not in LIVE_MODELS:
        raise ModelInUse(f"The model is {model.status}; its bytes are gone already.")
    for build in repository.unfinished_builds_over(session, model.id):
        jobs.request_cancel(session, build.job_id)
    for learner in repository.meta_learners_learnt_from(session, model.id):
        if learner.backbone == ENSEMBLE:
            store.delete(learner.object_key)
            learner.status = MetaLearnerStatus.RETIRED
            _record(session, Act.META_LEARNER_RETIRED, learner)
        elif learner.status == MetaLearnerStatus.ACTIVE:
            learner.status = MetaLearnerStatus.TAINTED
            _record(session, Act.META_LEARNER_TAINTED, learner)
    if model.object_key is not None:
        store.delete(model.object_key)
    model.status = ModelStatus.WITHDRAWN
    model.object_key = None
    model.updated_at = utc_now()
    session.flush()
    _record(session, Act.MODEL_WITHDRAWN, model)
    return model


def _record(session: Session, act: Act, row: ModelRow | MetaLearnerRow) -> None:
    record(session, act, row.id, pool_id=row.pool_id, organisation_id=row.organisation_id)
