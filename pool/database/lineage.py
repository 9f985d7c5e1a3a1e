"""What was made of a model: builds whose snapshot holds it, meta-learners they delivered."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from pool.database.tables import BuildModelRow, BuildRow, MetaLearnerRow
from pool.database.visible import may_see


def builds_over(
    session: Session, organisation_id: str, model_id: str, *, limit: int
) -> Sequence[BuildRow]:
    """Of the builds over the model those that the organisation may see, newest first."""
    return session.scalars(
        select(BuildRow)
        .join(BuildModelRow, BuildModelRow.build_id == BuildRow.id)
        .where(BuildModelRow.model_id == model_id, may_see(BuildRow, organisation_id))
        .options(joinedload(BuildRow.job))
        .order_by(BuildRow.created_at.desc(), BuildRow.id.desc())
        .limit(limit)
    ).all()


def learners_of(
    session: Session, organisation_id: str, model_id: str, *, limit: int
) -> Sequence[MetaLearnerRow]:
    """Of the meta-learners that learnt from the model those that it may see, newest first."""
    return session.scalars(
        select(MetaLearnerRow)
        .join(BuildModelRow, BuildModelRow.build_id == MetaLearnerRow.build_id)
        .where(BuildModelRow.model_id == model_id, may_see(MetaLearnerRow, organisation_id))
        .order_by(MetaLearnerRow.created_at.desc(), MetaLearnerRow.id.desc())
        .limit(limit)
    ).all()
