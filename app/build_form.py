"""An order for a build: JSON, or a form of the same JSON with a labelled validation set.

Covered: images and labels are held in this process's memory; what leaves it is small pictures and
numbers, sealed (docs/adr/0011).
"""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict
from starlette.datastructures import FormData, UploadFile

from app.deps import BuildWriter
from app.idempotency import Key
from app.labelled_images import MAX_LABEL_CHARS, read_images, read_labels
from app.limits import JSON_BODY_BYTES
from app.multipart import multipart_form
from pool.errors import InvalidInput

MAX_IMAGES, MAX_CLASSES, LEAST_OF_A_CLASS = 1000, 50, 2
FORM = "multipart/form-data"
EXAMPLE: JsonDict = {
    "pool": "default",
    "recipe": {"algorithm": "multi_teacher", "config": {"preset": "small"}},
}


class RecipeIn(BaseModel):
    """Which algorithm, with which numbers."""

    model_config = ConfigDict(extra="forbid")

    algorithm: Annotated[str, Field(max_length=60)] = "multi_teacher"
    config: dict[str, Any] = Field(
        default_factory=dict, description="Unnamed numbers keep the preset's value."
    )


class BuildIn(BaseModel):
    """An order for a meta-learner."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    pool: Annotated[str, Field(max_length=100)] = "default"
    recipe: RecipeIn = RecipeIn()
    models: Annotated[list[str], Field(max_length=10_000)] | None = Field(
        default=None,
        description="Ids; left out, all ready models of the pool are used, "
        "or 1,000 of more, drawn by the seed.",
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**31, strict=True, description="Same seed, same result."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildForm:
    """An order, parsed; encoded images in memory."""

    order: BuildIn
    images: list[bytes]
    labels: list[str]
    digest: str
    """Tells orders apart; of images a code that only who has the Idempotency-Key can recompute."""


async def read_build_form(
    request: Request, _: BuildWriter, key: Key = None
) -> AsyncIterator[BuildForm]:
    """Parse the order in memory; the caller is known before the first byte is read."""
    if not request.headers.get("content-type", "").lower().startswith(FORM):
        body = await request.body()
        if len(body) > JSON_BODY_BYTES:
            raise InvalidInput("An order in JSON holds 1 MiB at most.", part="body")
        digest = hashlib.sha256(body).hexdigest()
        yield BuildForm(order=parse_order(body), images=[], labels=[], digest=digest)
        return
    async with multipart_form(
        request,
        max_files=MAX_IMAGES + 2,
        max_fields=MAX_IMAGES + 2,
        max_field_bytes=JSON_BODY_BYTES,
        in_memory=True,
    ) as form:
        body = await _request_part(form)
        images, labels = await read_images(form, "validation"), read_labels(form)
        check_validation(images, labels)
        digest = keyed_digest(key or "", body, images, labels)
        yield BuildForm(order=parse_order(body), images=images, labels=labels, digest=digest)


def parse_order(body: bytes) -> BuildIn:
    """The JSON of an order.

    Raises:
        RequestValidationError: naming each part that is wrong.
    """
    try:
        return BuildIn.model_validate(json.loads(body))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        named = [{**each, "loc": ("body", *each["loc"])} for each in faults]
        raise RequestValidationError(named) from None
    except (ValueError, RecursionError) as error:
        wrong = {"type": "json_invalid", "loc": ("body",), "msg": "This is no JSON."}
        raise RequestValidationError([wrong]) from error


async def _request_part(form: FormData) -> bytes:
    """The JSON part `request`, a field or a file; left out, the order says nothing else."""
    part = form.get("request")
    if isinstance(part, UploadFile):
        return await part.read()
    return b"{}" if part is None else part.encode()


def check_validation(images: Sequence[bytes], labels: Sequence[str]) -> None:
    """The set's counts.

    Raises:
        InvalidInput: naming the part and the limit it breaks.
    """
    if not 1 <= len(images) <= MAX_IMAGES:
        raise InvalidInput(
            f"There are {len(images)} validation images; send 1 to {MAX_IMAGES}, or the order "
            "alone as JSON.",
            part="validation",
        )
    if len(labels) != len(images):
        raise InvalidInput(
            f"There are {len(images)} validation images and {len(labels)} labels; send one "
            "`labels` field per `validation` file, in the same order.",
            part="labels",
        )
    sizes = Counter(labels)
    if not 2 <= len(sizes) <= MAX_CLASSES:
        raise InvalidInput(
            f"The labels name {len(sizes)} class{'es' if len(sizes) != 1 else ''}; 2 to "
            f"{MAX_CLASSES} different ones are needed, 5 or more for five-way episodes.",
            part="labels",
        )
    if min(sizes.values()) < LEAST_OF_A_CLASS:
        raise InvalidInput(
            f"Each class needs {LEAST_OF_A_CLASS} images at least, one to learn from and one to "
            "ask about; 15 or more say much more.",
            part="validation",
        )


def keyed_digest(key: str, body: bytes, images: Sequence[bytes], labels: Sequence[str]) -> str:
    """What tells forms apart, for a day in the database: without the key it confirms no guess."""
    code = hmac.new(key.encode(), digestmod=hashlib.sha256)
    for each in (body, *images, *(label.encode() for label in labels)):
        code.update(hashlib.sha256(each).digest())
    return code.hexdigest()


def form_digest(form: Annotated[BuildForm, Depends(read_build_form)]) -> str:
    """For the Idempotency-Key."""
    return form.digest


_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 4}
_ORDER = {"$ref": "#/components/schemas/BuildIn"}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _ORDER},
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["validation", "labels"],
                    "properties": {
                        "request": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": _ORDER,
                            "description": "The order, as it would be sent as JSON alone",
                        },
                        "validation": {
                            **_FILES,
                            "description": f"PNG, JPEG, WebP or BMP; {MAX_IMAGES} at most, "
                            f"{LEAST_OF_A_CLASS} of each class at least. The build's report is "
                            "made on them; they are not kept.",
                        },
                        "labels": {
                            "type": "array",
                            "items": {
                                "type": "string",
                                "minLength": 1,
                                "maxLength": MAX_LABEL_CHARS,
                            },
                            "minItems": 4,
                            "description": "One per validation image, in the same order",
                        },
                    },
                },
                "example": {
                    "request": json.dumps(EXAMPLE),
                    "validation": ["(bytes)"] * 4,
                    "labels": ["normal", "normal", "effusion", "effusion"],
                },
                "encoding": {"labels": {"style": "form", "explode": True}},
            },
        },
    }
}
