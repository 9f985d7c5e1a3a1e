"""Which meta-learner answers a few-shot request."""

from pool.database import repository
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
    if row.status == MetaLearnerStatus.RETIRED:
        raise MetaLearnerRetired(
            "This meta-learner is retired; GET /v1/meta-learners lists others."
        )
    return row
