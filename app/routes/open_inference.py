"""The Open Inference Protocol, version 2: adaptations as models, for clients that speak it.

After the protocol's REST page (kserve/open-inference-protocol); refusals are problem documents
that carry the protocol's `error` as well.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from app.deps import AdaptationsDep, DatabaseDep, InferenceDep, Predictor, SettingsDep
from app.errors import responses
from app.inference import Answer
from app.open_inference import (
    HEADER_LENGTH,
    INPUT,
    LABELS,
    NEAREST,
    PROBABILITIES,
    Column,
    read_request,
    write_answer,
)
from app.readiness import REQUIRED
from app.threads import ThreadedRoute
from app.version import server_version
from pool import errors
from pool.usecases.predict import meta_learner_for_prediction
from pool.usecases.quotas import Quotas, count_prediction

router = APIRouter(prefix="/v2", tags=["open inference"], route_class=ThreadedRoute)


class TensorKind(BaseModel):
    """What a tensor looks like; -1 is any number."""

    name: str
    datatype: str
    shape: list[int]


class ServerMetadata(BaseModel):
    """What this is."""

    name: str = "modelpool"
    version: str
    extensions: list[str] = ["binary_tensor_data"]


class ModelMetadata(BaseModel):
    """One adaptation."""

    name: str
    versions: list[str] = []
    platform: str = "modelpool_adaptation"
    inputs: list[TensorKind]
    outputs: list[TensorKind]


class Live(BaseModel):
    """The process answers."""

    live: bool = True


class Ready(BaseModel):
    """It can be asked."""

    ready: bool = True


class ModelReady(BaseModel):
    """The adaptation can be asked."""

    name: str
    ready: bool = True


@router.get("")
async def get_server_metadata() -> ServerMetadata:
    """Name, version, extensions."""
    return ServerMetadata(version=server_version())


@router.get("/health/live")
async def get_server_live() -> Live:
    """The process answers."""
    return Live()


@router.get("/health/ready", responses={503: {"model": Ready}})
async def get_server_ready(request: Request, response: Response) -> Ready:
    """As `/healthz/ready`, which says more."""
    found = await request.app.state.readiness.look()
    ready = not request.app.state.stopping and all(
        each.state == "ok" for name, each in found.items() if name in REQUIRED
    )
    response.status_code = 200 if ready else 503
    return Ready(ready=ready)


@router.get("/models/{adaptation_id}", responses=responses(errors.AdaptationNotFound))
def get_model_metadata(
    adaptation_id: str, caller: Predictor, adaptations: AdaptationsDep
) -> ModelMetadata:
    """What an adaptation takes and gives."""
    adapted = adaptations.find(caller.organisation_id, adaptation_id).adapted
    n_way = len(adapted.class_names)
    return ModelMetadata(
        name=adaptation_id,
        inputs=[TensorKind(name=INPUT, datatype="FP32", shape=[-1, -1, -1, -1])],
        outputs=[
            TensorKind(name=PROBABILITIES, datatype="FP32", shape=[-1, n_way]),
            TensorKind(name=LABELS, datatype="BYTES", shape=[-1]),
            TensorKind(name=NEAREST, datatype="INT64", shape=[-1]),
        ],
    )


@router.get("/models/{adaptation_id}/ready", responses=responses(errors.AdaptationNotFound))
def get_model_ready(
    adaptation_id: str, caller: Predictor, adaptations: AdaptationsDep
) -> ModelReady:
    """Whether an adaptation can be asked."""
    return ModelReady(name=adaptations.find(caller.organisation_id, adaptation_id).id)


async def read_body(request: Request, _: Predictor) -> bytes:
    """The whole body, in memory; the caller is known before.

    Raises:
        InvalidInput: it is compressed, as NVIDIA's client does if asked to; what that holds would
            be known too late.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise errors.InvalidInput(
            "Bodies are not taken compressed: send it as it is.", part="Content-Encoding"
        )
    return await request.body()


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InferenceRequest"},
            },
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"},
                "example": "(JSON, then bytes)",
            },
        },
    }
}


@router.post(
    "/models/{adaptation_id}/infer",
    response_class=Response,
    responses={
        200: {
            "description": f"JSON; bytes follow it where they were asked for ({HEADER_LENGTH})",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/InferenceResponse"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        **responses(
            errors.AdaptationNotFound,
            errors.MetaLearnerNotFound,
            errors.RoleRequired,
            errors.MetaLearnerRetired,
            errors.QuotaExceeded,
        ),
    },
    openapi_extra=BODY,
)
def infer(
    adaptation_id: str,
    request: Request,
    body: Annotated[bytes, Depends(read_body)],
    caller: Predictor,
    database: DatabaseDep,
    inference: InferenceDep,
    adaptations: AdaptationsDep,
    settings: SettingsDep,
) -> Response:
    """Label images, sent as one tensor `images`: FP32 in [0, 1] or UINT8, [N, C, H, W]."""
    found = adaptations.find(caller.organisation_id, adaptation_id)
    asked, pixels = read_request(body, request.headers.get(HEADER_LENGTH))
    meta_learner_for_prediction(database, caller.organisation_id, found.meta_learner_id)
    with database.write() as session:
        count_prediction(session, caller.organisation_id, Quotas.of_deployment(settings))
    answer = inference.ask_pixels(found.adapted, pixels)
    content, json_length = write_answer(asked, adaptation_id, columns_of(answer))
    if json_length is None:
        return Response(content, media_type="application/json")
    headers = {HEADER_LENGTH: str(json_length)}
    return Response(content, media_type="application/octet-stream", headers=headers)


def columns_of(answer: Answer) -> list[Column]:
    """The outputs."""
    rows, names = answer.probabilities, answer.class_names
    best = [max(range(len(row)), key=row.__getitem__) for row in rows]
    columns = [
        Column(
            name=PROBABILITIES,
            datatype="FP32",
            shape=(len(rows), len(names)),
            values=[value for row in rows for value in row],
        ),
        Column(name=LABELS, datatype="BYTES", shape=(len(rows),), values=[names[b] for b in best]),
    ]
    if answer.nearest is not None:
        columns.append(
            Column(name=NEAREST, datatype="INT64", shape=(len(rows),), values=answer.nearest)
        )
    return columns
