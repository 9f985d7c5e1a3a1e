"""Take a meta-learner or an adaptation along, to where no server is."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from app.adaptations import Adaptation
from app.deps import AdaptationsDep, BuildWriter, DatabaseDep, InferenceDep
from app.errors import responses
from app.inference import Inference
from app.routes.meta_learners import MetaLearnerPath
from app.threads import ThreadedRoute
from pool import errors
from pool.database.session import Database
from pool.database.tables import MetaLearnerRow
from pool.usecases.predict import meta_learner_for_export, note_export

router = APIRouter(prefix="/v1", tags=["exports"], route_class=ThreadedRoute)

Form = Annotated[
    Literal["torch", "onnx"],
    Query(
        alias="format",
        description="`torch`: a zip of the weights (safetensors) and a script, predict.py, that "
        "needs torch alone. `onnx`: an ONNX file (opset 17).",
    ),
]
MEDIA_TYPES = {"torch": "application/zip", "onnx": "application/onnx"}
SUFFIXES = {"torch": "zip", "onnx": "onnx"}
FILE = {"schema": {"type": "string", "format": "binary"}}
DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": dict.fromkeys(MEDIA_TYPES.values(), FILE)},
    **responses(
        errors.MetaLearnerNotFound,
        errors.RoleRequired,
        errors.MetaLearnerRetired,
        errors.NotExportable,
        errors.StorageUnavailable,
    ),
}


@router.get("/meta-learners/{meta_learner_id}/export", response_class=Response, responses=DESCRIBED)
def export_meta_learner(
    meta_learner_id: MetaLearnerPath,
    caller: BuildWriter,
    database: DatabaseDep,
    inference: InferenceDep,
    form: Form = "torch",
) -> Response:
    """A meta-learner that adapts and answers without a server, as this one does.

    Not an ensemble: it is made of other people's models. What has left the server can be neither
    withdrawn nor retired, so the pool's record says who took it.
    """
    row = meta_learner_for_export(database, caller.organisation_id, meta_learner_id)
    return _file(database, inference, row, form, None)


@router.get("/adaptations/{adaptation_id}/export", response_class=Response, responses=DESCRIBED)
def export_adaptation(
    adaptation_id: str,
    caller: BuildWriter,
    database: DatabaseDep,
    inference: InferenceDep,
    adaptations: AdaptationsDep,
    form: Form = "torch",
) -> Response:
    """An adaptation: a classifier of its classes, with their names in it."""
    found = adaptations.find(caller.organisation_id, adaptation_id)
    row = meta_learner_for_export(database, caller.organisation_id, found.meta_learner_id)
    return _file(database, inference, row, form, found)


def _file(
    database: Database,
    inference: Inference,
    row: MetaLearnerRow,
    form: Literal["torch", "onnx"],
    adaptation: Adaptation | None,
) -> Response:
    adapted = adaptation.adapted if adaptation else None
    data = inference.take_along(row.object_key, form, adapted=adapted)
    note_export(database, row)
    name = f"{adaptation.id if adaptation else row.id}.{SUFFIXES[form]}"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=MEDIA_TYPES[form], headers=disposition)
