"""Names that point at a pool's meta-learners: move them, and tell where they pointed when."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pool.database import repository
from pool.database.alias_tables import AliasMoveRow, AliasRow
from pool.database.audit import Act, record
from pool.database.tables import PoolRow
from pool.database.upsert import upsert
from pool.domain import MetaLearnerStatus, new_id, utc_now
from pool.errors import (
    AliasMoved,
    AliasNotFound,
    MetaLearnerNotFound,
    MetaLearnerRetired,
    TooManyAliases,
)
from pool.roles import Action

MOST = 200
"""Aliases of a pool, removed ones included: they keep their history."""


def list_aliases(session: Session, organisation_id: str, pool_name: str) -> Sequence[AliasRow]:
    """The pool's aliases that point somewhere, by name.

    Raises:
        PoolNotFound, PoolNameAmbiguous, RoleRequired: the organisation may not see them.
    """
    pool = repository.find_pool(session, organisation_id, pool_name, Action.SEE_META_LEARNERS)
    return session.scalars(
        select(AliasRow)
        .where(AliasRow.pool_id == pool.id, AliasRow.meta_learner_id.is_not(None))
        .order_by(AliasRow.name)
    ).all()


def aliases_of(session: Session, meta_learner_ids: Iterable[str]) -> Mapping[str, list[str]]:
    """The names of the aliases that point at each of the meta-learners."""
    found: dict[str, list[str]] = {each: [] for each in meta_learner_ids}
    rows = session.execute(
        select(AliasRow.meta_learner_id, AliasRow.name)
        .where(AliasRow.meta_learner_id.in_(found))
        .order_by(AliasRow.name)
    )
    for meta_learner_id, name in rows:
        found[str(meta_learner_id)].append(name)
    return found


def alias_with_moves(
    session: Session, organisation_id: str, pool_name: str, name: str, *, limit: int
) -> tuple[AliasRow, Sequence[AliasMoveRow]]:
    """An alias, also a removed one, and its last moves, newest first.

    Raises:
        PoolNotFound, PoolNameAmbiguous, RoleRequired: the organisation may not see it.
        AliasNotFound: the pool never had one of this name.
    """
    pool = repository.find_pool(session, organisation_id, pool_name, Action.SEE_META_LEARNERS)
    row = _find(session, pool, name)
    moves = session.scalars(
        select(AliasMoveRow)
        .where(AliasMoveRow.alias_id == row.id)
        .order_by(AliasMoveRow.seq.desc())
        .limit(limit)
    ).all()
    return row, moves


def move_alias(
    session: Session,
    organisation_id: str,
    pool_name: str,
    name: str,
    *,
    meta_learner_id: str,
    note: str | None = None,
    expected: Iterable[str | None] | None = None,
) -> AliasRow:
    """Point an alias at a meta-learner of its pool, from now on; made if it is new.

    Args:
        session: the transaction's.
        organisation_id: who moves it.
        pool_name: the pool's id or name.
        name: the alias.
        meta_learner_id: where it shall point, not through another alias.
        note: why.
        expected: where it must point now, one of these (None: nowhere); without, wherever.

    Raises:
        PoolNotFound, PoolNameAmbiguous, RoleRequired: the organisation may not move it.
        MetaLearnerNotFound: the pool has no such meta-learner.
        MetaLearnerRetired: it answers nobody any more.
        AliasMoved: somebody else moved it meanwhile.
        TooManyAliases: it would be one too many.
    """
    pool = repository.find_pool(session, organisation_id, pool_name, Action.MOVE_ALIASES)
    _check_target(session, organisation_id, pool, meta_learner_id)
    row = _locked(session, pool, name)
    _check_expected(row, expected)
    if row.meta_learner_id != meta_learner_id:
        _move(session, row, organisation_id, meta_learner_id, note)
    return row


def remove_alias(session: Session, organisation_id: str, pool_name: str, name: str) -> None:
    """Let an alias point nowhere; its history stays. Twice is the same as once.

    Raises:
        PoolNotFound, PoolNameAmbiguous, RoleRequired: the organisation may not move it.
        AliasNotFound: the pool never had one of this name.
    """
    pool = repository.find_pool(session, organisation_id, pool_name, Action.MOVE_ALIASES)
    row = _find(session, pool, name, lock=True)
    if row.meta_learner_id is not None:
        _move(session, row, organisation_id, None, None)


def _check_target(
    session: Session, organisation_id: str, pool: PoolRow, meta_learner_id: str
) -> None:
    learner = None
    if repository.AT not in meta_learner_id:
        learner = repository.find_meta_learner(session, organisation_id, meta_learner_id)
    if learner is None or learner.pool_id != pool.id:
        raise MetaLearnerNotFound(
            f"Pool {pool.name!r} has no meta-learner of this id; GET /v1/meta-learners lists yours."
        )
    if learner.status == MetaLearnerStatus.RETIRED:
        raise MetaLearnerRetired("This meta-learner is retired; point the alias at another.")


def _check_expected(row: AliasRow, expected: Iterable[str | None] | None) -> None:
    if expected is not None and row.meta_learner_id not in expected:
        raise AliasMoved(
            f"The alias points at {row.meta_learner_id or 'no meta-learner'} by now; look at its "
            "history (GET /v1/pools/{pool}/aliases/{alias}), then say whether to move it."
        )


def _find(session: Session, pool: PoolRow, name: str, *, lock: bool = False) -> AliasRow:
    query = select(AliasRow).where(AliasRow.pool_id == pool.id, AliasRow.name == name)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise AliasNotFound(
            f"Pool {pool.name!r} has no alias {name!r}; GET /v1/pools/{{pool}}/aliases lists them."
        )
    return row


def _locked(session: Session, pool: PoolRow, name: str) -> AliasRow:
    """The alias, made if it is new; who moves it at the same time waits."""
    made = (
        upsert(session, AliasRow)
        .values(id=new_id("als"), pool_id=pool.id, name=name, n_moves=0, moved_at=utc_now())
        .on_conflict_do_nothing()
    )
    if session.execute(made.returning(AliasRow.id)).one_or_none() is not None:
        held = select(func.count()).select_from(AliasRow).where(AliasRow.pool_id == pool.id)
        if session.scalars(held).one() > MOST:
            raise TooManyAliases(
                f"A pool has at most {MOST} aliases, removed ones included; use an old name again."
            )
    return _find(session, pool, name, lock=True)


def _move(
    session: Session,
    row: AliasRow,
    organisation_id: str,
    meta_learner_id: str | None,
    note: str | None,
) -> None:
    row.meta_learner_id, row.moved_at = meta_learner_id, utc_now()
    row.n_moves += 1
    session.add(
        AliasMoveRow(
            alias_id=row.id,
            seq=row.n_moves,
            meta_learner_id=meta_learner_id,
            organisation_id=organisation_id,
            note=note,
            at=row.moved_at,
        )
    )
    session.flush()
    record(
        session,
        Act.ALIAS_MOVED,
        row.id,
        pool_id=row.pool_id,
        organisation_id=organisation_id,
        detail=meta_learner_id,
    )
