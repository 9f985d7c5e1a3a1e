"""Adapt once, ask often: classifiers that live in the server's memory for a while.

Covered: support images are gone when the request that brought them ends; no file, message,
database row or log line carries an image or a label.
"""

import time
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from app.adaptations import Adaptation
from app.deps import AdaptationsDep, DatabaseDep, InferenceDep, Predictor, SettingsDep
from app.errors import responses
from app.few_shot_answers import OutlookOut, PredictionsOut
from app.few_shot_form import (
    QueryForm,
    SupportForm,
    multipart_body,
    read_query_form,
    read_support_form,
)
from app.metrics import Instruments
from app.routes.meta_learners import MetaLearnerPath
from app.threads import ThreadedRoute
from pool import errors
from pool.usecases.predict import meta_learner_for_prediction
from pool.usecases.quotas import Quotas, count_prediction

router = APIRouter(prefix="/v1", tags=["adaptations"], route_class=ThreadedRoute)


class AdaptationOut(BaseModel):
    """A meta-learner fitted to one support set."""

    id: str
    meta_learner_id: str
    labels: list[str] = Field(description="In the order of first appearance.")
    n_support: int
    outlook: OutlookOut
    created_at: datetime
    expires_at: datetime = Field(
        description="It is forgotten then, or earlier: with DELETE, when memory runs short, when "
        "the server stops."
    )

    @classmethod
    def of(cls, adaptation: Adaptation) -> Self:
        """Its public side."""
        adapted = adaptation.adapted
        return cls(
            id=adaptation.id,
            meta_learner_id=adaptation.meta_learner_id,
            labels=list(adapted.class_names),
            n_support=adapted.n_support,
            outlook=OutlookOut.of(adapted),
            created_at=adaptation.created_at,
            expires_at=adaptation.expires_at,
        )


@router.post(
    "/meta-learners/{meta_learner_id}/adaptations",
    status_code=201,
    responses=responses(
        errors.MetaLearnerNotFound,
        errors.RoleRequired,
        errors.MetaLearnerRetired,
        errors.StorageUnavailable,
        errors.QuotaExceeded,
    ),
    openapi_extra=multipart_body("support", "labels"),
)
def create_adaptation(
    meta_learner_id: MetaLearnerPath,
    request: Request,
    form: Annotated[SupportForm, Depends(read_support_form)],
    caller: Predictor,
    database: DatabaseDep,
    inference: InferenceDep,
    adaptations: AdaptationsDep,
    settings: SettingsDep,
) -> AdaptationOut:
    """Adapt to labelled support images, and say what to expect before any query is sent.

    The classifier stays in this process's memory. It takes no `Idempotency-Key`: keeping an answer
    would write its labels down.
    """
    learner = meta_learner_for_prediction(database, caller.organisation_id, meta_learner_id)
    with database.write() as session:
        count_prediction(session, caller.organisation_id, Quotas.of_deployment(settings))
    adapted = inference.adapt(
        learner.object_key, support=form.support, labels=form.labels, teachers=form.teachers
    )
    instruments: Instruments = request.app.state.instruments
    instruments.adaptation_seconds.observe(adapted.adapt_ms / 1000)
    return AdaptationOut.of(adaptations.keep(caller.organisation_id, learner.id, adapted))


@router.get("/adaptations/{adaptation_id}", responses=responses(errors.AdaptationNotFound))
def get_adaptation(
    adaptation_id: str, caller: Predictor, adaptations: AdaptationsDep
) -> AdaptationOut:
    """One of your organisation's adaptations."""
    return AdaptationOut.of(adaptations.find(caller.organisation_id, adaptation_id))


@router.delete("/adaptations/{adaptation_id}", responses=responses(errors.AdaptationNotFound))
def end_adaptation(
    adaptation_id: str, caller: Predictor, adaptations: AdaptationsDep
) -> AdaptationOut:
    """Forget one; the answer is the last that is heard of it."""
    return AdaptationOut.of(adaptations.end(caller.organisation_id, adaptation_id))


@router.post(
    "/adaptations/{adaptation_id}/predictions",
    responses=responses(
        errors.AdaptationNotFound,
        errors.MetaLearnerNotFound,
        errors.RoleRequired,
        errors.MetaLearnerRetired,
        errors.QuotaExceeded,
    ),
    openapi_extra=multipart_body("query"),
)
def ask_adaptation(
    adaptation_id: str,
    request: Request,
    form: Annotated[QueryForm, Depends(read_query_form)],
    caller: Predictor,
    database: DatabaseDep,
    inference: InferenceDep,
    adaptations: AdaptationsDep,
    settings: SettingsDep,
) -> PredictionsOut:
    """Label queries by an adaptation; its meta-learner must still be yours to ask."""
    found = adaptations.find(caller.organisation_id, adaptation_id)
    learner = meta_learner_for_prediction(database, caller.organisation_id, found.meta_learner_id)
    with database.write() as session:
        count_prediction(session, caller.organisation_id, Quotas.of_deployment(settings))
    answer = inference.ask(found.adapted, form.query, coverage=form.coverage)
    return PredictionsOut.of(
        answer,
        found.adapted,
        meta_learner_id=learner.id,
        status=learner.status,
        timing_ms=(time.perf_counter() - request.state.started) * 1000,
        adapted_now=False,
    )
