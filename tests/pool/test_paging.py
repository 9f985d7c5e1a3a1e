"""A list is walked page by page without loss or repetition, on both databases."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from pool.database import paging
from pool.database.names import name_key
from pool.database.paging import Order, Position, Wanted, page
from pool.database.session import Database
from pool.database.tables import ModelRow
from pool.database.visible import may_see
from pool.domain import ModelStatus, utc_now
from pool.roles import Role
from pool.usecases.members import set_member
from pool.usecases.organisations import add_organisation
from pool.usecases.pools import create_pool
from tests.factories import model_row

AddModel = Callable[..., ModelRow]
NAMES = (
    "Ward",
    "ward 3",
    "WARD 30",
    "straße",
    "STRASSE",
    "Éclair",
    "z\U0010ffff",
    "z\ufffd",
    "日本",
)
DOMAINS = ("x-ray", "skin", None)
BACKBONES = ("conv4", "resnet10")
ROLES = ({Role.OWNER}, {Role.CONSUMER}, {Role.CONTRIBUTOR}, {Role.CONSUMER, Role.AUDITOR}, set())


def walk(
    database: Database,
    organisation_id: str,
    *,
    limit: int,
    wanted: Wanted = paging.EVERYTHING,
    between: Callable[[], object] = lambda: None,
) -> list[str]:
    """The ids on all pages, in order, while `between` happens after each."""
    seen: list[str] = []
    after: Position | None = None
    while True:
        with database.read() as session:
            rows, after = page(
                session, ModelRow, organisation_id, after=after, limit=limit, wanted=wanted
            )
        assert len(rows) <= limit
        seen += [row.id for row in rows]
        if after is None:
            return seen
        between()


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
def test_pages_hold_each_record_once_newest_first_even_of_one_moment(
    database: Database, organisation_id: str, add_model: AddModel, limit: int
) -> None:
    now = utc_now()
    old = sorted(add_model(created_at=now - timedelta(hours=1)).id for _ in range(3))
    new = sorted(add_model(created_at=now).id for _ in range(3))
    assert walk(database, organisation_id, limit=limit) == new[::-1] + old[::-1]


def test_a_page_holds_only_what_the_organisation_owns_and_the_filter_lets_through(
    database: Database, organisation_id: str, add_model: AddModel
) -> None:
    ready = add_model()
    add_model(ModelStatus.REJECTED)
    wanted = Wanted(equal={ModelRow.status: ModelStatus.READY})
    with database.read() as session:
        rows, _ = page(session, ModelRow, organisation_id, after=None, limit=9, wanted=wanted)
        others, _ = page(session, ModelRow, "org_other", after=None, limit=9)
    assert ([row.id for row in rows], others) == ([ready.id], [])


class Crowd:
    """Organisations with all kinds of roles in each other's pools, and models of them all there.

    Some have left pools in which their models still are. Names, states and moments often agree.
    """

    def __init__(self, database: Database, chance: random.Random) -> None:
        self.database, self.chance = database, chance
        with database.write() as session:
            self.organisations = [add_organisation(session, f"organisation {n}").id for n in "abc"]
            self.pools = [
                create_pool(session, each, name=f"pool {n}", description=None)
                for each in self.organisations
                for n in "de"
            ]
        with database.write() as session:
            for pool in self.pools:
                for member_id in set(self.organisations) - {pool.organisation_id}:
                    if roles := chance.choice(ROLES):
                        set_member(
                            session, pool.organisation_id, pool.id, member_id=member_id, roles=roles
                        )
            session.add_all(self.model() for _ in range(120))

    def model(self) -> ModelRow:
        """Somebody's, somewhere."""
        pick = self.chance.choice
        return model_row(
            pick(self.pools),
            pick(list(ModelStatus)),
            organisation_id=pick(self.organisations),
            name=pick(NAMES),
            backbone=pick(BACKBONES),
            domain=pick(DOMAINS),
            created_at=datetime(2026, 1, pick(range(1, 9)), tzinfo=UTC),
        )

    def add(self) -> None:
        """Another one."""
        with self.database.write() as session:
            session.add(self.model())

    def wish(self) -> Wanted:
        """Any filters, order and beginning of a name."""
        pick = self.chance.choice
        order = pick(list(Order))
        equal = {
            ModelRow.status: pick([None, *ModelStatus]),
            ModelRow.backbone: pick([None, *BACKBONES]),
            ModelRow.domain: pick(DOMAINS),
        }
        begins = pick(["", "w", "WARD 3", "stras", "é", "z\U0010ffff", "z", "nothing"])
        return Wanted(
            order=order,
            equal={column: value for column, value in equal.items() if value is not None},
            pool_id=pick([None, *(pool.id for pool in self.pools)]),
            prefix=name_key(begins) if order is Order.NAME else "",
        )

    def by_hand(self, organisation_id: str, wanted: Wanted) -> list[str]:
        """What all pages together must hold: every record looked at, sorted here."""
        with self.database.read() as session:
            rows = session.scalars(select(ModelRow).where(may_see(ModelRow, organisation_id))).all()
        found = [
            row
            for row in rows
            if wanted.pool_id in (None, row.pool_id)
            and row.name.casefold().startswith(wanted.prefix)
            and all(getattr(row, column.key) == value for column, value in wanted.equal.items())
        ]
        if wanted.order is Order.NAME:
            found.sort(key=lambda row: (row.name.casefold(), row.id))
        else:
            found.sort(key=lambda row: (row.created_at, row.id), reverse=True)
        return [row.id for row in found]


@pytest.fixture(params=range(2))
def crowd(database: Database, request: pytest.FixtureRequest) -> Crowd:
    """A few of them, always the same."""
    return Crowd(database, random.Random(request.param))


@pytest.fixture(params=[3, 7, 2000])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How far a page looks for what no index finds."""
    monkeypatch.setattr(paging, "WINDOW", request.param)
    return int(request.param)


@pytest.mark.usefixtures("window")
def test_the_pages_of_any_list_hold_just_what_a_look_at_every_record_finds(crowd: Crowd) -> None:
    found = 0
    for _ in range(30):
        organisation_id, wanted = crowd.chance.choice(crowd.organisations), crowd.wish()
        limit = crowd.chance.choice([2, 5, 50])
        expected = crowd.by_hand(organisation_id, wanted)
        assert walk(crowd.database, organisation_id, limit=limit, wanted=wanted) == expected
        found += len(expected)
    assert found > 30


@pytest.mark.usefixtures("window")
def test_pages_lose_and_repeat_nothing_while_records_arrive(crowd: Crowd) -> None:
    for _ in range(10):
        organisation_id, wanted = crowd.chance.choice(crowd.organisations), crowd.wish()
        before = crowd.by_hand(organisation_id, wanted)
        seen = walk(crowd.database, organisation_id, limit=5, wanted=wanted, between=crowd.add)
        after = crowd.by_hand(organisation_id, wanted)
        assert len(seen) == len(set(seen))
        assert set(before) <= set(seen) <= set(after)
        assert seen == [each for each in after if each in set(seen)]


def test_more_pools_than_one_query_asks_are_merged(
    database: Database, organisation_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "AT_ONCE", 2)
    with database.write() as session:
        pools = [
            create_pool(session, organisation_id, name=f"pool {n}", description=None)
            for n in range(5)
        ]
    moments = [datetime(2026, 1, n + 1, tzinfo=UTC) for n in range(10)]
    with database.write() as session:
        rows = [model_row(pools[n % 5], created_at=moment) for n, moment in enumerate(moments)]
        session.add_all(rows)
        ids = [row.id for row in rows]
    assert walk(database, organisation_id, limit=3) == ids[::-1]
