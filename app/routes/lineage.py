"""What was made of a model, and what withdrawing it would touch."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.deps import BuildReader, SessionDep
from app.errors import responses
from app.threads import ThreadedRoute
from pool import errors
from pool.database import lineage, repository
from pool.database.tables import BuildRow, MetaLearnerRow, ModelRow
from pool.database.visible import SEEN_BY, roles_by_pool
from pool.domain import FINAL_JOBS, JobStatus, MetaLearnerStatus
from pool.roles import may
from pool.usecases.aliases import aliases_of
from pool.usecases.withdraw import status_without

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=ThreadedRoute)

MOST = 200
"""Of each kind; the newest."""


class BuildOver(BaseModel):
    """A build whose snapshot holds the model."""

    id: str
    algorithm: str
    status: JobStatus
    would_end: bool = Field(description="Withdrawing the model would cancel it.")
    created_at: datetime

    @classmethod
    def of(cls, row: BuildRow) -> Self:
        """The record's public side."""
        return cls(
            id=row.id,
            algorithm=row.algorithm,
            status=row.job.status,
            would_end=row.job.status not in FINAL_JOBS,
            created_at=row.created_at,
        )


class LearnerOf(BaseModel):
    """A meta-learner that learnt from the model."""

    id: str
    build_id: str
    backbone: str
    status: MetaLearnerStatus
    aliases: list[str] = Field(description="That point at it now: who asks by them would notice.")
    would_become: MetaLearnerStatus | None = Field(
        description="If the model was withdrawn now; null where nothing would change."
    )
    created_at: datetime

    @classmethod
    def of(cls, row: MetaLearnerRow, aliases: Sequence[str]) -> Self:
        """The record's public side, with the aliases that point at it."""
        became = status_without(row)
        return cls(
            id=row.id,
            build_id=row.build_id,
            backbone=row.backbone,
            status=row.status,
            aliases=list(aliases),
            would_become=became if became != row.status else None,
            created_at=row.created_at,
        )


class Lineage(BaseModel):
    """What was made of a model, as far as your roles show it; the newest 200 of each kind."""

    model_id: str
    builds: list[BuildOver] | None = Field(description="Null where your roles show no builds.")
    meta_learners: list[LearnerOf] | None = Field(
        description="Null where your roles show no meta-learners."
    )
    is_whole: bool = Field(description="False where there are more, or your roles hide some.")

    @classmethod
    def of(
        cls,
        model: ModelRow,
        builds: Sequence[BuildRow] | None,
        learners: Sequence[MetaLearnerRow] | None,
        aliases: Mapping[str, Sequence[str]],
    ) -> Self:
        """At most `MOST` of each; one more says that there are more."""
        shown = [rows for rows in (builds, learners) if rows is not None]
        return cls(
            model_id=model.id,
            builds=None if builds is None else [BuildOver.of(row) for row in builds[:MOST]],
            meta_learners=None
            if learners is None
            else [LearnerOf.of(row, aliases[row.id]) for row in learners[:MOST]],
            is_whole=len(shown) == 2 and all(len(rows) <= MOST for rows in shown),
        )


@router.get("/{model_id}/lineage", responses=responses(errors.ModelNotFound, errors.RoleRequired))
def get_model_lineage(model_id: str, session: SessionDep, caller: BuildReader) -> Lineage:
    """The builds and meta-learners that a model is in; changes nothing."""
    organisation_id = caller.organisation_id
    model = repository.find_model(session, organisation_id, model_id)
    roles = roles_by_pool(session, organisation_id).get(model.pool_id, frozenset())
    builds = learners = None
    if may(roles, SEEN_BY[BuildRow]):
        builds = lineage.builds_over(session, organisation_id, model.id, limit=MOST + 1)
    if may(roles, SEEN_BY[MetaLearnerRow]):
        learners = lineage.learners_of(session, organisation_id, model.id, limit=MOST + 1)
    named = aliases_of(session, [row.id for row in learners or ()])
    return Lineage.of(model, builds, learners, named)
