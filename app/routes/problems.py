"""What each error code means, at the address that its `type` names."""

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel

from app.errors import STATUS, code_of, problem_content, title_of
from app.threads import ThreadedRoute
from pool.errors import PoolError

router = APIRouter(prefix="/v1/problems", tags=["problems"], route_class=ThreadedRoute)


class ProblemOut(BaseModel):
    """One error code."""

    code: str
    status: int
    title: str


def _shape(error: type[PoolError]) -> ProblemOut:
    return ProblemOut(code=code_of(error), status=STATUS[error], title=title_of(error))


@router.get("")
def list_problems() -> list[ProblemOut]:
    """All error codes of this API."""
    return [_shape(error) for error in STATUS]


@router.get("/{code}", responses={422: problem_content("A part of the request cannot be used")})
def get_problem(code: str) -> ProblemOut:
    """One error code; an unknown one is explained by its HTTP status alone."""
    for error in STATUS:
        if code_of(error) == code:
            return _shape(error)
    for status in HTTPStatus:
        if status.phrase.lower().replace(" ", "-") == code:
            return ProblemOut(code=code, status=status, title=status.phrase)
    return ProblemOut(code=code, status=500, title="Explained by its HTTP status alone")
