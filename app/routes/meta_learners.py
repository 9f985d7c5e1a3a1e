"""Meta-learners: what builds delivered."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from app.deps import BuildReader, SessionDep
from app.errors import responses
from app.paging import Cursor, Limit, decode_cursor, encode_cursor
from app.threads import ThreadedRoute
from pool import errors
from pool.database import repository
from pool.database.paging import page
from pool.database.tables import MetaLearnerRow
from pool.domain import MetaLearnerStatus
from pool.usecases.aliases import aliases_of

router = APIRouter(prefix="/v1/meta-learners", tags=["meta-learners"], route_class=ThreadedRoute)

MetaLearnerPath = Annotated[
    str, Path(description="A meta-learner's id, or an alias that points at it: `pool@alias`.")
]


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
    calibration_error: dict[str, float] = Field(
        default={},
        description="By number of shots: how far probabilities lie from frequencies on average "
        "(Guo et al. 2017), on the same questions.",
    )
    domains: dict[str, dict[str, Accuracy]] = Field(
        default={},
        description="By domain, over the questions that its models label; empty with one domain "
        "or a validation set.",
    )


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
    aliases: list[str] = Field(description="Those of its pool that point at it now.")
    created_at: datetime

    @classmethod
    def of(cls, row: MetaLearnerRow, aliases: Sequence[str]) -> Self:
        """The record's public side, with the aliases that point at it."""
        fields: dict[str, Any] = {
            name: getattr(row, name)
            for name in cls.model_fields
            if name not in ("pool", "report", "aliases")
        }
        return cls(
            **fields,
            pool=row.pool.name,
            report=ReportOut.model_validate(row.report),
            aliases=list(aliases),
        )


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
    rows, position = page(
        session, MetaLearnerRow, caller.organisation_id, after=decode_cursor(cursor), limit=limit
    )
    named = aliases_of(session, [row.id for row in rows])
    return MetaLearnerPage(
        items=[MetaLearnerOut.of(row, named[row.id]) for row in rows],
        next_cursor=encode_cursor(position),
    )


@router.get(
    "/{meta_learner_id}",
    responses=responses(errors.MetaLearnerNotFound, errors.RoleRequired),
)
def get_meta_learner(
    meta_learner_id: MetaLearnerPath, session: SessionDep, caller: BuildReader
) -> MetaLearnerDetail:
    """One meta-learner, with the models it learnt from."""
    row = repository.find_meta_learner(session, caller.organisation_id, meta_learner_id)
    record = MetaLearnerOut.of(row, aliases_of(session, [row.id])[row.id])
    return MetaLearnerDetail(
        **record.model_dump(),
        model_ids=repository.snapshot_shown_to(session, caller.organisation_id, row.build_id),
    )
