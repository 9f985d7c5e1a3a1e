"""Meta-learners: what builds delivered."""

from datetime import datetime
from typing import Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.deps import BuildReader, SessionDep
from app.errors import responses
from app.paging import Cursor, Limit, decode_cursor, encode_cursor
from app.threads import ThreadedRoute
from pool import errors
from pool.database import repository
from pool.database.tables import MetaLearnerRow
from pool.domain import MetaLearnerStatus

router = APIRouter(prefix="/v1/meta-learners", tags=["meta-learners"], route_class=ThreadedRoute)


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
    report: dict[str, Any] = Field(description="How the build went: last losses, counts, seconds.")
    created_at: datetime

    @classmethod
    def of(cls, row: MetaLearnerRow) -> Self:
        """The record's public side."""
        fields: dict[str, Any] = {
            name: getattr(row, name) for name in cls.model_fields if name != "pool"
        }
        return cls(**fields, pool=row.pool.name)


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
