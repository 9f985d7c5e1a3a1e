"""The few-shot request: a support set in, predictions out.

Covered: support and query images and their labels are held in memory for the request only; no
file, message, database row or log line carries any of them.
"""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from app.deps import DatabaseDep, InferenceDep, Predictor, SettingsDep
from app.errors import responses
from app.few_shot_answers import PredictionsOut
from app.few_shot_form import FewShotForm, multipart_body, read_few_shot_form
from app.metrics import Instruments
from app.routes.meta_learners import MetaLearnerPath
from app.threads import ThreadedRoute
from pool import errors
from pool.usecases.predict import meta_learner_for_prediction
from pool.usecases.quotas import Quotas, count_prediction

router = APIRouter(prefix="/v1/meta-learners", tags=["predictions"], route_class=ThreadedRoute)


@router.post(
    "/{meta_learner_id}/predictions",
    responses=responses(
        errors.MetaLearnerNotFound,
        errors.RoleRequired,
        errors.MetaLearnerRetired,
        errors.StorageUnavailable,
        errors.QuotaExceeded,
    ),
    openapi_extra=multipart_body("support", "labels", "query"),
)
def predict(
    meta_learner_id: MetaLearnerPath,
    request: Request,
    form: Annotated[FewShotForm, Depends(read_few_shot_form)],
    caller: Predictor,
    database: DatabaseDep,
    inference: InferenceDep,
    settings: SettingsDep,
) -> PredictionsOut:
    """Adapt to labelled support images and label the queries, in one request; nothing is kept."""
    learner = meta_learner_for_prediction(database, caller.organisation_id, meta_learner_id)
    with database.write() as session:
        count_prediction(session, caller.organisation_id, Quotas.of_deployment(settings))
    support, query = form.support, form.query
    adapted = inference.adapt(
        learner.object_key,
        support=support.support,
        labels=support.labels,
        teachers=support.teachers,
    )
    answer = inference.ask(adapted, query.query, coverage=query.coverage)
    instruments: Instruments = request.app.state.instruments
    instruments.adaptation_seconds.observe((adapted.adapt_ms + answer.predict_ms) / 1000)
    return PredictionsOut.of(
        answer,
        adapted,
        meta_learner_id=learner.id,
        status=learner.status,
        timing_ms=(time.perf_counter() - request.state.started) * 1000,
        adapted_now=True,
    )
