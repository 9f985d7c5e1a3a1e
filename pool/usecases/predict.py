"""Which meta-learner answers a few-shot request, or may be taken along."""

from pool.database import repository
from pool.database.audit import Act, record
from pool.database.session import Database
from pool.database.tables import MetaLearnerRow
from pool.domain import MetaLearnerStatus
from pool.errors import MetaLearnerRetired
from pool.roles import Action


def meta_learner_for_prediction(
    database: Database, organisation_id: str, meta_learner_id: str
) -> MetaLearnerRow:
    """The meta-learner's record, read in a transaction of its own: the computing holds none.

    A tainted one still answers, and its answers say that it is tainted.

    Raises:
        MetaLearnerNotFound, RoleRequired, MetaLearnerRetired: it cannot be asked.
    """
    with database.read() as session:
        row = repository.find_meta_learner(
            session, organisation_id, meta_learner_id, Action.PREDICT
        )
    return _not_retired(row)


def meta_learner_for_export(
    database: Database, organisation_id: str, meta_learner_id: str
) -> MetaLearnerRow:
    """The record of a meta-learner that the organisation may take along.

    Raises:
        MetaLearnerNotFound, RoleRequired, MetaLearnerRetired: it may not.
    """
    with database.read() as session:
        row = repository.find_meta_learner(session, organisation_id, meta_learner_id, Action.EXPORT)
    return _not_retired(row)


def note_export(database: Database, row: MetaLearnerRow) -> None:
    """Put on record that its weights have left the server, before they do."""
    with database.write() as session:
        record(
            session,
            Act.META_LEARNER_EXPORTED,
            row.id,
            pool_id=row.pool_id,
            organisation_id=row.organisation_id,
        )


def _not_retired(row: MetaLearnerRow) -> MetaLearnerRow:
    if row.status == MetaLearnerStatus.RETIRED:
        raise MetaLearnerRetired(
            "This meta-learner is retired; GET /v1/meta-learners lists others."
        )
    return row
