"""The few-shot request: a support set in, predictions out.

Covered: support and query images and their labels are held in memory for the request only; no
file, message, database row or log line carries any of them.
"""

import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.datastructures import FormData

from app.deps import DatabaseDep, InferenceDep, Predictor, SettingsDep
from app.errors import responses
from app.inference import Answer
from app.labelled_images import read_images, read_labels
from app.metrics import Instruments
from app.multipart import multipart_form
from app.threads import ThreadedRoute
from pool import errors
from pool.domain import MetaLearnerStatus
from pool.errors import InvalidInput
from pool.usecases.predict import meta_learner_for_prediction
from pool.usecases.quotas import Quotas, count_prediction

router = APIRouter(prefix="/v1/meta-learners", tags=["predictions"], route_class=ThreadedRoute)

MAX_WAYS, MAX_SHOTS, MAX_QUERIES = 50, 100, 500
MAX_SUPPORT = MAX_WAYS * MAX_SHOTS
MAX_TEACHERS = 1000


@dataclass(frozen=True, slots=True)
class FewShotForm:
    """A few-shot request, parsed; encoded images in memory."""

    support: list[bytes]
    labels: list[str]
    query: list[bytes]
    teachers: int | None
    """How many of an ensemble's members answer; None where the request does not say."""


class Prediction(BaseModel):
    """What one query is taken for."""

    label: str
    probabilities: dict[str, float]


class Timing(BaseModel):
    """Where the milliseconds went."""

    decode: float
    adapt_and_predict: float


class PredictionsOut(BaseModel):
    """One prediction per query image, in the order they were sent."""

    predictions: list[Prediction]
    timing_ms: float = Field(description="From the whole request's arrival to this answer.")
    stages_ms: Timing
    meta_learner_id: str
    meta_learner_status: MetaLearnerStatus

    @classmethod
    def of(
        cls, answer: Answer, *, meta_learner_id: str, status: MetaLearnerStatus, timing_ms: float
    ) -> Self:
        """Probabilities by label, the most likely one first named."""
        predictions = []
        for row in answer.probabilities:
            by_label = dict(zip(answer.class_names, row, strict=True))
            predictions.append(
                Prediction(label=max(by_label, key=by_label.__getitem__), probabilities=by_label)
            )
        return cls(
            predictions=predictions,
            timing_ms=timing_ms,
            stages_ms=Timing(decode=answer.decode_ms, adapt_and_predict=answer.predict_ms),
            meta_learner_id=meta_learner_id,
            meta_learner_status=status,
        )


async def read_few_shot_form(request: Request, _: Predictor) -> AsyncIterator[FewShotForm]:
    """Parse the request in memory; the caller is known before the first byte is read."""
    async with multipart_form(
        request,
        max_files=MAX_SUPPORT + MAX_QUERIES,
        max_fields=MAX_SUPPORT + MAX_QUERIES + 1,
        max_field_bytes=64 * 1024,
        in_memory=True,
    ) as form:
        checked = FewShotForm(
            support=await read_images(form, "support"),
            labels=read_labels(form),
            query=await read_images(form, "query"),
            teachers=_teachers(form),
        )
        check_few_shot_form(checked)
        yield checked


def check_few_shot_form(form: FewShotForm) -> None:
    """The request's counts.

    Raises:
        InvalidInput: naming the part and the limit it breaks.
    """
    if not form.support:
        raise InvalidInput("Send at least one `support` image per class.", part="support")
    if len(form.labels) != len(form.support):
        raise InvalidInput(
            f"There are {len(form.support)} support images and {len(form.labels)} labels; send "
            "one `labels` field per `support` file, in the same order.",
            part="labels",
        )
    shots = Counter(form.labels)
    if not 2 <= len(shots) <= MAX_WAYS:
        raise InvalidInput(
            f"The labels name {len(shots)} class{'es' if len(shots) != 1 else ''}; "
            f"2 to {MAX_WAYS} different ones are needed.",
            part="labels",
        )
    if max(shots.values()) > MAX_SHOTS:
        raise InvalidInput(f"A class has more than {MAX_SHOTS} support images.", part="support")
    if not 1 <= len(form.query) <= MAX_QUERIES:
        raise InvalidInput(
            f"There are {len(form.query)} query images; send 1 to {MAX_QUERIES}.", part="query"
        )


def _teachers(form: FormData) -> int | None:
    given = form.getlist("teachers")
    if not given:
        return None
    text = given[0]
    number = text.strip() if isinstance(text, str) else ""
    if (
        len(given) > 1
        or not re.fullmatch("[0-9]{1,4}", number)
        or not 1 <= int(number) <= MAX_TEACHERS
    ):
        raise InvalidInput(
            f"`teachers` is one whole number from 1 to {MAX_TEACHERS}.", part="teachers"
        )
    return int(number)


def _file_list(description: str) -> dict[str, object]:
    return {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "description": description,
    }


MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["support", "labels", "query"],
                    "properties": {
                        "support": _file_list("PNG, JPEG, WebP or BMP of any size and mode"),
                        "labels": {
                            "type": "array",
                            "items": {"type": "string", "minLength": 1, "maxLength": 200},
                            "minItems": 2,
                            "description": "One per support image, in the same order",
                        },
                        "query": _file_list("The images to label"),
                        "teachers": {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": MAX_TEACHERS,
                            "description": "Only for an ensemble: how many of its teachers "
                            "answer, those that suit the support images best; left out, as many "
                            "as its recipe says.",
                        },
                    },
                },
                "example": {
                    "support": ["(bytes)", "(bytes)"],
                    "labels": ["normal", "effusion"],
                    "query": ["(bytes)"],
                },
                "encoding": {"labels": {"style": "form", "explode": True}},
            }
        },
    }
}


@router.post(
    "/{meta_learner_id}/predictions",
    responses=responses(
        errors.MetaLearnerNotFound,
        errors.RoleRequired,
        errors.MetaLearnerRetired,
        errors.StorageUnavailable,
        errors.QuotaExceeded,
    ),
    openapi_extra=MULTIPART,
)
def predict(
    meta_learner_id: str,
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
    answer = inference.predict(
        learner.object_key,
        support=form.support,
        labels=form.labels,
        query=form.query,
        teachers=form.teachers,
    )
    instruments: Instruments = request.app.state.instruments
    instruments.adaptation_seconds.observe(answer.predict_ms / 1000)
    return PredictionsOut.of(
        answer,
        meta_learner_id=learner.id,
        status=learner.status,
        timing_ms=(time.perf_counter() - request.state.started) * 1000,
    )
