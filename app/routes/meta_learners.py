"""Meta-learners: what builds delivered."""

from datetime import datetime
from typing import Any, Literal, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.deps import BuildReader, SessionDep
from app.errors import responses
from app.paging import Cursor, Limit, decode_cursor, encode_cursor
from app.threads import ThreadedRoute
from pool import errors
from pool.database import repository
from pool.database.tables import MetaLearnerRow
from pool.domain import MetaLearnerStatus

router = APIRouter(prefix="/v1/meta-learners", tags=["meta-learners"], route_class=ThreadedRoute)


class Accuracy(BaseModel):
    """A mean over episodes, as a fraction."""

    accuracy: float
    interval: tuple[float, float] = Field(description="95 %, over episodes.")


class Estimate(BaseModel):
    """What the meta-learner reached, and on what."""

    kind: Literal["recovered", "validation"] = Field(
        description="`recovered`: on drawn pictures that the pool's models label, without data: "
        "good for comparing, its level says little. `validation`: on images sent with the order."
    )
    n_episodes: int = Field(description="Per number of shots.")
    way: int
    n_images: int
    n_teachers_asked: int = Field(description="Models that the baselines are made of.")
    n_teachers: int
    shots: dict[str, Accuracy] = Field(description="By number of shots, `1` and `5`.")


class Baseline(BaseModel):
    """A trivial way to do without the meta-learner, in the same episodes."""

    name: str
    what: str
    shots: dict[str, Accuracy]


class ReportWarning(BaseModel):
    """What to know before relying on the meta-learner."""

    code: str = Field(
        description="`baseline-not-beaten`, `level-not-trustworthy` or `not-estimated`."
    )
    message: str
    baseline: str | None = None


class ReportOut(BaseModel):
    """How the build went, and what its meta-learner is worth."""

    model_config = ConfigDict(extra="allow")  # counts, seconds and last losses of the training

    estimate: Estimate | None = None
    baselines: list[Baseline] = []
    warnings: list[ReportWarning] = []


class MetaLearnerOut(BaseModel):
    """A meta-learner as a record."""

    id: str
    pool: str
    build_id: str
    status: MetaLearnerStatus
    backbone: str
    image_size: int
    channels: int
    sha256: str
    size_bytes: int
    report: ReportOut
    created_at: datetime

    @classmethod
    def of(cls, row: MetaLearnerRow) -> Self:
        """The record's public side."""
        fields: dict[str, Any] = {
            name: getattr(row, name) for name in cls.model_fields if name not in ("pool", "report")
        }
        return cls(**fields, pool=row.pool.name, report=ReportOut.model_validate(row.report))


class MetaLearnerDetail(MetaLearnerOut):
    """A meta-learner with its lineage."""

    model_ids: list[str] = Field(
        description="The pool models it learnt from, as far as your roles show them."
    )


class MetaLearnerPage(BaseModel):
    """Some of the meta-learners, newest first."""

    items: list[MetaLearnerOut]
    next_cursor: str | None


@router.get("", responses=responses())
def list_meta_learners(
    session: SessionDep, caller: BuildReader, limit: Limit = 50, cursor: Cursor = None
) -> MetaLearnerPage:
    """The meta-learners that your roles show, newest first."""
    rows, position = repository.page(
        session, MetaLearnerRow, caller.organisation_id, after=decode_cursor(cursor), limit=limit
    )
    return MetaLearnerPage(
        items=[MetaLearnerOut.of(row) for row in rows], next_cursor=encode_cursor(position)
    )


@router.get(
    "/{meta_learner_id}",
    responses=responses(errors.MetaLearnerNotFound, errors.RoleRequired),
)
def get_meta_learner(
    meta_learner_id: str, session: SessionDep, caller: BuildReader
) -> MetaLearnerDetail:
    """One meta-learner, with the models it learnt from."""
    row = repository.find_meta_learner(session, caller.organisation_id, meta_learner_id)
    record = MetaLearnerOut.of(row)
    return MetaLearnerDetail(
        **record.model_dump(),
        model_ids=repository.snapshot_shown_to(session, caller.organisation_id, row.build_id),
    )
