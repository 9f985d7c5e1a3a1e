"""Delete objects that no record names: what a process stored and was killed before it said so."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from pool.database.session import Database
from pool.database.tables import JobRow, MetaLearnerRow, ModelRow
from pool.database.upload_tables import UploadRow
from pool.domain import FINAL_JOBS, LIVE_MODELS, UPLOADS_UNDER_WAY, MetaLearnerStatus
from pool.storage.store import META_LEARNERS, MODELS, QUARANTINE, ObjectStore, build_of, model_of

UNNAMED_FOR_S = 3600.0
"""An upload writes its record at once after its bytes: after an hour nobody will."""
AT_ONCE = 500
"""Keys in one query."""


def delete_orphans(database: Database, store: ObjectStore) -> int:
    """Look at every object's record; how many objects had none that wants them.

    Not for every few seconds: it lists the whole store.
    """
    looks: Sequence[tuple[Iterator[str], Callable[[Session, list[str]], set[str]]]] = (
        (store.older(QUARANTINE, UNNAMED_FOR_S), _without_model),
        (store.keys(MODELS), _of_dead_models),
        (store.keys(META_LEARNERS), _never_delivered),
    )
    removed = store.tidy(UNNAMED_FOR_S)
    for keys, orphans_among in looks:
        while batch := list(islice(keys, AT_ONCE)):
            with database.read() as session:
                orphans = orphans_among(session, batch)
            for key in orphans:
                store.delete(key)
            removed += len(orphans)
    return removed


def _without_model(session: Session, keys: list[str]) -> set[str]:
    """Originals whose upload ended before it wrote a record; not what a resumable one joined."""
    ids = {model_of(key) for key in keys}
    known = set(session.scalars(select(ModelRow.id).where(ModelRow.id.in_(ids))))
    known |= set(
        session.scalars(
            select(UploadRow.reserved_id).where(
                UploadRow.reserved_id.in_(ids), UploadRow.status.in_(UPLOADS_UNDER_WAY)
            )
        )
    )
    return {key for key in keys if model_of(key) not in known}


def _of_dead_models(session: Session, keys: list[str]) -> set[str]:
    """Weights of models that were refused or withdrawn while a run was about to store them."""
    ids = {model_of(key) for key in keys}
    dead = set(
        session.scalars(
            select(ModelRow.id).where(ModelRow.id.in_(ids), ModelRow.status.not_in(LIVE_MODELS))
        )
    )
    return {key for key in keys if model_of(key) in dead}


def _never_delivered(session: Session, keys: list[str]) -> set[str]:
    """What a run of a build stored, when the build has ended without it; what was retired since.

    The record is written together with the job's end, so afterwards nobody will write one.
    """
    named = select(MetaLearnerRow.object_key).where(
        MetaLearnerRow.object_key.in_(keys), MetaLearnerRow.status != MetaLearnerStatus.RETIRED
    )
    builds = {build_of(key) for key in keys} - {None}
    ended = set(
        session.scalars(
            select(JobRow.subject_id).where(
                JobRow.subject_id.in_(builds), JobRow.status.in_(FINAL_JOBS)
            )
        )
    )
    return {key for key in keys if build_of(key) in ended} - set(session.scalars(named))
