"""Every refusal as RFC 9457 problem+json: the only list of HTTP codes."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DataError, DBAPIError
from starlette.exceptions import HTTPException

from app.description import methods_of
from pool import errors, logs
from pool.database.races import is_lost_race, is_outage
from pool.errors import ConcurrentChange, DatabaseUnavailable, InvalidInput, PoolError, TryLater

log = logging.getLogger(__name__)

STATUS: dict[type[PoolError], HTTPStatus] = {
    errors.ModelNotFound: HTTPStatus.NOT_FOUND,
    errors.BuildNotFound: HTTPStatus.NOT_FOUND,
    errors.MetaLearnerNotFound: HTTPStatus.NOT_FOUND,
    errors.AdaptationNotFound: HTTPStatus.NOT_FOUND,
    errors.AliasNotFound: HTTPStatus.NOT_FOUND,
    errors.UploadNotFound: HTTPStatus.NOT_FOUND,
    errors.PoolNotFound: HTTPStatus.NOT_FOUND,
    errors.OrganisationNotFound: HTTPStatus.NOT_FOUND,
    errors.MemberNotFound: HTTPStatus.NOT_FOUND,
    errors.KeyNotFound: HTTPStatus.NOT_FOUND,
    errors.PoolExists: HTTPStatus.CONFLICT,
    errors.PoolNameAmbiguous: HTTPStatus.CONFLICT,
    errors.OrganisationExists: HTTPStatus.CONFLICT,
    errors.LastOwner: HTTPStatus.CONFLICT,
    errors.AliasMoved: HTTPStatus.CONFLICT,
    errors.TooManyAliases: HTTPStatus.CONFLICT,
    errors.KeyEnded: HTTPStatus.CONFLICT,
    errors.ContributedAlready: HTTPStatus.CONFLICT,
    errors.ManifestConflict: HTTPStatus.CONFLICT,
    errors.UploadIncomplete: HTTPStatus.CONFLICT,
    errors.UploadEnded: HTTPStatus.CONFLICT,
    errors.PartMismatch: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ModelInUse: HTTPStatus.CONFLICT,
    errors.BuildFinished: HTTPStatus.CONFLICT,
    errors.BuildNotResumable: HTTPStatus.CONFLICT,
    errors.NoUsableModels: HTTPStatus.CONFLICT,
    errors.MetaLearnerRetired: HTTPStatus.GONE,
    errors.NotExportable: HTTPStatus.CONFLICT,
    errors.ChecksumMismatch: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.EmptyCheckpoint: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidRecipe: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    errors.NotAllowed: HTTPStatus.FORBIDDEN,
    errors.RoleRequired: HTTPStatus.FORBIDDEN,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.StorageUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.ObjectMissing: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TooManyFollowers: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LeaseLost: HTTPStatus.CONFLICT,
    errors.QuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RequestInFlight: HTTPStatus.CONFLICT,
    errors.ConcurrentChange: HTTPStatus.CONFLICT,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
}


CREATES = (errors.IdempotencyKeyReused, errors.RequestInFlight)
"""What every creating route may answer about its Idempotency-Key."""


OF_THE_BODY = {STATUS[kind]: kind for kind in (errors.TooLarge, errors.TooSlow)}
"""What any operation with a body may answer: the guards before the routes raise it."""


class Fault(BaseModel):
    """One thing that is wrong with one part of the request."""

    part: str = Field(description="Where: a JSON pointer, a parameter, or a multipart part.")
    detail: str


class Problem(BaseModel):
    """What went wrong and what to do (RFC 9457)."""

    type: str = Field(description="A path on this server that explains the code.")
    title: str
    status: int
    detail: str = Field(description="What happened here, and what to do about it.")
    code: str = Field(description="Stable, for programs.")
    request_id: str | None = None
    errors: list[Fault] = []
    error: str | None = Field(
        default=None, description="Under /v2: the detail, where that protocol's clients look."
    )


def code_of(error: type[PoolError]) -> str:
    """ModelNotFound -> model-not-found."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", error.__name__).lower()


def title_of(error: type[PoolError]) -> str:
    """The refusal's docstring."""
    return (error.__doc__ or "").strip().splitlines()[0].rstrip(".")


def responses(*refusals: type[PoolError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the refusals a route may answer with."""
    always = (
        errors.NotAuthenticated,
        errors.NotAllowed,
        errors.InvalidInput,
        errors.RateLimited,
    )
    by_status: dict[HTTPStatus, list[str]] = {}
    for refusal in (*always, *refusals):
        by_status.setdefault(STATUS[refusal], []).append(title_of(refusal))
    return {
        int(status): problem_content("; ".join(dict.fromkeys(titles)))
        for status, titles in by_status.items()
    }


def of_bodies() -> dict[str, dict[str, Any]]:
    """OpenAPI entries for what the guards before every route say of a body, by status."""
    return {
        str(int(status)): problem_content(title_of(kind)) for status, kind in OF_THE_BODY.items()
    }


def problem_content(description: str) -> dict[str, Any]:
    """The OpenAPI entry of an answer that is a problem document."""
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {"application/problem+json": {"schema": schema}}
    return {"description": description, "content": content}


def install(app: FastAPI) -> None:
    """Answer every kind of failure as problem+json."""
    app.add_exception_handler(PoolError, _pool_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(DBAPIError, _database_error)


def problem_response(
    request: Request,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    faults: list[Fault] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Shape one problem document."""
    body = Problem(
        type=f"/v1/problems/{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        request_id=getattr(request.state, "request_id", None),
        errors=faults or [],
        error=detail if request.url.path.startswith("/v2") else None,
    )
    request.state.problem_code = code
    challenge = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    return JSONResponse(
        body.model_dump(exclude=None if body.error else {"error"}),
        status,
        headers={**challenge, **(headers or {})},
        media_type="application/problem+json",
    )


def refusal(
    request: Request, error: PoolError, *, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A refusal of the pool as a problem document; Retry-After where waiting helps."""
    kind = next(each for each in type(error).__mro__ if each in STATUS)
    faults = (
        [Fault(part=error.part, detail=error.message)] if isinstance(error, InvalidInput) else []
    )
    later = {"Retry-After": str(error.retry_after_s)} if isinstance(error, TryLater) else {}
    return problem_response(
        request,
        status=STATUS[kind],
        code=code_of(kind),
        title=title_of(kind),
        detail=error.message,
        faults=faults,
        headers={**later, **(headers or {})},
    )


async def _pool_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PoolError)
    return refusal(request, error)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's own complaints; what the client sent is not echoed."""
    assert isinstance(error, RequestValidationError)
    faults = [
        Fault(part="/".join(str(step) for step in each["loc"]), detail=str(each["msg"]))
        for each in error.errors()
    ]
    where = ", ".join(dict.fromkeys(fault.part for fault in faults))
    return problem_response(
        request,
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        code=code_of(InvalidInput),
        title=title_of(InvalidInput),
        detail=f"Correct {where}; `errors` says what is wrong with each.",
        faults=faults,
    )


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    if kind := OF_THE_BODY.get(status):
        code, title = code_of(kind), title_of(kind)
    else:
        code, title = status.phrase.lower().replace(" ", "-"), status.phrase
    if status == HTTPStatus.BAD_REQUEST:  # FastAPI's, for a body that is no JSON or no multipart
        unreadable = (
            f"The body could not be read ({error.detail}). Send what the API page describes."
        )
        return refusal(request, InvalidInput(unreadable, part="body"))
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(methods_of(request.app, request.url.path)))
    return problem_response(
        request,
        status=status,
        code=code,
        title=title,
        detail=str(error.detail),
        headers=headers,
    )


async def _unstorable(request: Request, _: Exception) -> JSONResponse:
    """A value that no column holds, such as text with a NUL; what it was is not echoed."""
    error = InvalidInput("A value cannot be stored; leave out control characters.", part="body")
    return refusal(request, error)


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    """Another transaction was faster, or the database is away, where no use case says more."""
    assert isinstance(error, DBAPIError)
    if is_outage(error):
        log.error("the database does not answer", extra=logs.failure(error))
        away = DatabaseUnavailable(
            "The database does not answer; try again in a moment, with the same Idempotency-Key if "
            "the request creates something.",
            retry_after_s=5,
        )
        return refusal(request, away)
    if not is_lost_race(error):
        raise error
    lost = ConcurrentChange(
        "Another request changed the same records at the same time, and this one changed nothing; "
        "send it again.",
        retry_after_s=1,
    )
    return refusal(request, lost)


async def unexpected(request: Request, error: Exception) -> JSONResponse:
    """Log where it broke, but not the message: it may quote what the client sent."""
    log.error("unexpected %s", type(error).__name__, extra=logs.failure(error))
    return problem_response(
        request,
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
        code="internal-error",
        title="The server failed",
        detail="This is our fault, not yours. Give the request_id to the server's operator.",
    )
