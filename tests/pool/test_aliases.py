"""Aliases on both databases: moves that race, and how many names a pool may have."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from pool.database.alias_tables import AliasMoveRow, AliasRow
from pool.database.session import Database
from pool.database.tables import MetaLearnerRow, ModelRow
from pool.errors import AliasMoved, TooManyAliases
from pool.usecases import aliases

MakeLearner = Callable[[], str]


@pytest.fixture
def learner(
    add_model: Callable[..., ModelRow],
    order_build: Callable[..., str],
    add_meta_learner: Callable[[str], MetaLearnerRow],
) -> MakeLearner:
    """Deliver another meta-learner; its id."""
    add_model()
    add_model()
    return lambda: add_meta_learner(order_build()).id


def move(database: Database, organisation_id: str, target: str, name: str = "production") -> None:
    with database.write() as session:
        aliases.move_alias(session, organisation_id, "default", name, meta_learner_id=target)


def test_of_moves_that_race_and_expect_the_same_place_one_wins(
    database: Database, organisation_id: str, learner: MakeLearner
) -> None:
    targets = [learner() for _ in range(6)]

    def swap(target: str) -> str:
        try:
            with database.write() as session:
                aliases.move_alias(
                    session,
                    organisation_id,
                    "default",
                    "production",
                    meta_learner_id=target,
                    expected=[None],
                )
        except AliasMoved:
            return "moved"
        return target

    with ThreadPoolExecutor(len(targets)) as clients:
        outcomes = list(clients.map(swap, targets))
    (winner,) = set(outcomes) - {"moved"}
    assert outcomes.count("moved") == len(targets) - 1
    with database.read() as session:
        assert session.scalars(select(AliasRow.meta_learner_id)).one() == winner
        assert session.scalars(select(AliasMoveRow.meta_learner_id)).all() == [winner]


def test_moves_that_race_without_expecting_anything_are_all_in_the_history(
    database: Database, organisation_id: str, learner: MakeLearner
) -> None:
    targets = [learner() for _ in range(6)]
    with ThreadPoolExecutor(len(targets)) as clients:
        list(clients.map(lambda each: move(database, organisation_id, each), targets))
    with database.read() as session:
        moves = session.scalars(select(AliasMoveRow).order_by(AliasMoveRow.seq)).all()
        row = session.scalars(select(AliasRow)).one()
    assert [each.seq for each in moves] == list(range(1, len(targets) + 1))
    assert {each.meta_learner_id for each in moves} == set(targets)
    assert (row.n_moves, row.meta_learner_id) == (len(targets), moves[-1].meta_learner_id)


def test_a_pool_has_at_most_so_many_names_and_old_ones_are_used_again(
    database: Database,
    organisation_id: str,
    learner: MakeLearner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aliases, "MOST", 2)
    target = learner()
    for name in ("one", "two"):
        move(database, organisation_id, target, name)
    with database.write() as session:
        aliases.remove_alias(session, organisation_id, "default", "one")
    with pytest.raises(TooManyAliases, match="at most 2"):
        move(database, organisation_id, target, "three")
    move(database, organisation_id, target, "one")
    with database.read() as session:
        rows = aliases.list_aliases(session, organisation_id, "default")
        assert [row.name for row in rows] == ["one", "two"]
