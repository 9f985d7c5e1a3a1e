"""The few-shot forms: labelled support images, query images, or both.

Covered: support and query images and their labels are held in memory for the request only; no
file, message, database row or log line carries any of them.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData

from app.deps import Predictor
from app.labelled_images import read_images, read_labels
from app.multipart import multipart_form
from pool.errors import InvalidInput

MAX_WAYS, MAX_SHOTS, MAX_QUERIES = 50, 100, 500
MAX_SUPPORT = MAX_WAYS * MAX_SHOTS
MAX_TEACHERS = 1000
MAX_FIELD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SupportForm:
    """What to adapt to; encoded images in memory."""

    support: list[bytes]
    labels: list[str]
    teachers: int | None
    """How many of an ensemble's members answer; None where the request does not say."""


@dataclass(frozen=True, slots=True)
class QueryForm:
    """What to answer; encoded images in memory."""

    query: list[bytes]
    coverage: float | None
    """The share of queries to answer; None where the request does not say."""


@dataclass(frozen=True, slots=True)
class FewShotForm:
    """Both in one request."""

    support: SupportForm
    query: QueryForm


async def read_few_shot_form(request: Request, _: Predictor) -> AsyncIterator[FewShotForm]:
    """Parse the request in memory; the caller is known before the first byte is read."""
    async with multipart_form(
        request,
        max_files=MAX_SUPPORT + MAX_QUERIES,
        max_fields=MAX_SUPPORT + MAX_QUERIES + 2,
        max_field_bytes=MAX_FIELD_BYTES,
        in_memory=True,
    ) as form:
        yield FewShotForm(support=await _support_of(form), query=await _query_of(form))


async def read_support_form(request: Request, _: Predictor) -> AsyncIterator[SupportForm]:
    """A support set alone, likewise."""
    async with multipart_form(
        request,
        max_files=MAX_SUPPORT,
        max_fields=MAX_SUPPORT + 1,
        max_field_bytes=MAX_FIELD_BYTES,
        in_memory=True,
    ) as form:
        yield await _support_of(form)


async def read_query_form(request: Request, _: Predictor) -> AsyncIterator[QueryForm]:
    """Queries alone, likewise."""
    async with multipart_form(
        request,
        max_files=MAX_QUERIES,
        max_fields=1,
        max_field_bytes=MAX_FIELD_BYTES,
        in_memory=True,
    ) as form:
        yield await _query_of(form)


async def _support_of(form: FormData) -> SupportForm:
    read = SupportForm(
        support=await read_images(form, "support"),
        labels=read_labels(form),
        teachers=_teachers(form),
    )
    check_support_form(read)
    return read


async def _query_of(form: FormData) -> QueryForm:
    read = QueryForm(query=await read_images(form, "query"), coverage=_coverage(form))
    if not 1 <= len(read.query) <= MAX_QUERIES:
        raise InvalidInput(
            f"There are {len(read.query)} query images; send 1 to {MAX_QUERIES}.", part="query"
        )
    return read


def check_support_form(form: SupportForm) -> None:
    """The support set's counts.

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


def _one_field(form: FormData, name: str) -> str | None:
    """A field's text; empty where it is no text or there are several."""
    given = form.getlist(name)
    if not given:
        return None
    return given[0].strip() if len(given) == 1 and isinstance(given[0], str) else ""


def _teachers(form: FormData) -> int | None:
    number = _one_field(form, "teachers")
    if number is None:
        return None
    if not re.fullmatch("[0-9]{1,4}", number) or not 1 <= int(number) <= MAX_TEACHERS:
        raise InvalidInput(
            f"`teachers` is one whole number from 1 to {MAX_TEACHERS}.", part="teachers"
        )
    return int(number)


def _coverage(form: FormData) -> float | None:
    number = _one_field(form, "coverage")
    if number is None:
        return None
    if not re.fullmatch(r"[0-9]{0,3}(\.[0-9]{1,6})?", number) or not 0 < float(number or 0) <= 1:
        raise InvalidInput(
            "`coverage` is the share of queries to answer, above 0 and up to 1, such as 0.8.",
            part="coverage",
        )
    return float(number)


# The forms, for OpenAPI.


def _file_list(description: str) -> dict[str, object]:
    return {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "description": description,
    }


_SUPPORT: Mapping[str, Any] = {
    "support": _file_list("PNG, JPEG, WebP or BMP of any size and mode"),
    "labels": {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": 200},
        "minItems": 2,
        "description": "One per support image, in the same order",
    },
    "teachers": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_TEACHERS,
        "description": "Only for an ensemble: how many of its teachers answer, those that suit the "
        "support images best; left out, as many as its recipe says.",
    },
}
_QUERY: Mapping[str, Any] = {
    "query": _file_list("The images to label"),
    "coverage": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "description": "The share of queries to answer, the surest ones; the others come back with "
        "`abstained`. Left out, all are answered. Needs two support images of a class.",
    },
}
_EXAMPLE: Mapping[str, Any] = {
    "support": ["(bytes)", "(bytes)"],
    "labels": ["normal", "effusion"],
    "query": ["(bytes)"],
}


def multipart_body(*required: str) -> dict[str, Any]:
    """The OpenAPI entry of a form with these parts and the optional ones that belong to them."""
    properties = dict(_SUPPORT) if "support" in required else {}
    properties |= _QUERY if "query" in required else {}
    content = {
        "schema": {"type": "object", "required": list(required), "properties": properties},
        "example": {name: _EXAMPLE[name] for name in required},
    }
    if "labels" in required:
        content["encoding"] = {"labels": {"style": "form", "explode": True}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": content}}}
