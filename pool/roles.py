"""Who may do what in a pool: one table from actions to the roles that permit them.

An organisation is a member of a pool with one role or several; a key's scopes say which of these
its holder may use (`pool.domain.Scope`). docs/ACCESS.md shows the table to readers.
"""

from collections.abc import Iterable
from enum import StrEnum


class Role(StrEnum):
    """What an organisation is in a pool."""

    OWNER = "owner"  # everything, members included
    CURATOR = "curator"  # looks at all models, withdraws any
    CONTRIBUTOR = "contributor"  # adds models of its own
    BUILDER = "builder"  # builds over all ready models
    CONSUMER = "consumer"  # asks meta-learners
    AUDITOR = "auditor"  # reads what happened, changes nothing


class Action(StrEnum):
    """What can be done in a pool."""

    SEE_MODELS = "see the pool's models"
    SEE_MODEL_RECORDS = "see other members' models in full"
    UPLOAD = "upload models"
    CURATE = "withdraw models or cancel builds of other members"
    SEE_BUILDS = "see builds"
    BUILD = "build"
    SEE_META_LEARNERS = "see meta-learners"
    MOVE_ALIASES = "point aliases at meta-learners"
    PREDICT = "ask meta-learners"
    EXPORT = "take meta-learners along"
    SEE_MEMBERS = "see the pool's members"
    MANAGE_MEMBERS = "change the pool's members"
    READ_AUDIT = "read what happened in the pool"


PERMITS: dict[Action, frozenset[Role]] = {
    Action.SEE_MODELS: frozenset(Role) - {Role.CONSUMER},
    Action.SEE_MODEL_RECORDS: frozenset({Role.OWNER, Role.CURATOR}),
    Action.UPLOAD: frozenset({Role.OWNER, Role.CONTRIBUTOR}),
    Action.CURATE: frozenset({Role.OWNER, Role.CURATOR}),
    Action.SEE_BUILDS: frozenset({Role.OWNER, Role.CURATOR, Role.BUILDER, Role.AUDITOR}),
    Action.BUILD: frozenset({Role.OWNER, Role.BUILDER}),
    Action.SEE_META_LEARNERS: frozenset(Role) - {Role.CONTRIBUTOR},
    Action.MOVE_ALIASES: frozenset({Role.OWNER, Role.CURATOR}),
    Action.PREDICT: frozenset({Role.OWNER, Role.CONSUMER}),
    Action.EXPORT: frozenset({Role.OWNER, Role.BUILDER}),
    Action.SEE_MEMBERS: frozenset(Role) - {Role.CONSUMER},
    Action.MANAGE_MEMBERS: frozenset({Role.OWNER}),
    Action.READ_AUDIT: frozenset({Role.OWNER, Role.AUDITOR}),
}


def may(roles: Iterable[Role], action: Action) -> bool:
    """Whether one of the roles permits the action."""
    return not PERMITS[action].isdisjoint(roles)


def in_order(roles: Iterable[Role]) -> list[Role]:
    """Each role once, in the order of their definition."""
    held = set(roles)
    return [role for role in Role if role in held]
