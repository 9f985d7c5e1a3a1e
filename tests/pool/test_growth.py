"""What a request reads does not grow with the pool: counted, not timed, on both databases.

On PostgreSQL the plans tell how many records they touched; on SQLite its virtual machine's steps
are counted.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select
from sqlalchemy.orm import Session

from pool.database import paging, repository
from pool.database.names import name_key
from pool.database.paging import Order, Wanted, page
from pool.database.session import Database
from pool.database.tables import ModelRow, PoolRow
from pool.domain import ModelStatus, Recipe, new_id
from pool.roles import Role
from pool.usecases import build
from pool.usecases.members import set_member
from pool.usecases.organisations import add_organisation
from pool.usecases.pools import create_pool

SMALL, LARGE = 400, 4000
RARE = 3
"""Records of a rare kind, in the small pool and in the large one."""
WINDOW, MOST = 60, 50
START = datetime(2026, 1, 1, tzinfo=UTC)
Ask = Callable[[Session, str, PoolRow], object]


def records(pool: PoolRow, count: int) -> list[dict[str, Any]]:
    """The first of them are of a rare kind, so that the newest-first walk comes to them last."""
    return [
        {
            "id": new_id("mdl"),
            "organisation_id": pool.organisation_id,
            "pool_id": pool.id,
            "status": ModelStatus.REJECTED if n < RARE else ModelStatus.READY,
            "name": f"model {n:06d}",
            "name_key": f"model {n:06d}",
            "backbone": "resnet18" if n < RARE else "conv4",
            "domain": "rare" if n < RARE else "common",
            "class_names": ["a", "b"],
            "image_size": 32,
            "channels": 1,
            "mean": [0.5],
            "std": [0.5],
            "sha256": secrets.token_hex(32),
            "canonical_sha256": secrets.token_hex(32),
            "size_bytes": 1,
            "created_at": START + timedelta(seconds=n),
            "updated_at": START,
        }
        for n in range(count)
    ]


@pytest.fixture
def pools(database: Database, monkeypatch: pytest.MonkeyPatch) -> tuple[PoolRow, PoolRow]:
    """A small and a large one, of two organisations; a third one left both, its models stayed."""
    monkeypatch.setattr(paging, "WINDOW", WINDOW)
    monkeypatch.setattr(build, "MOST_MODELS", MOST)
    made = []
    for count in (SMALL, LARGE):
        with database.write() as session:
            owner = add_organisation(session, f"with {count}").id
            pool = create_pool(session, owner, name=f"of {count}", description=None)
        with database.write() as session:
            session.execute(insert(ModelRow), records(pool, count))
        made.append(pool)
    with database.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE models")
            connection.commit()
    return made[0], made[1]


@contextmanager
def counting(connection: Connection) -> Iterator[list[int]]:
    """What the statements meanwhile read: records on PostgreSQL, hundreds of steps on SQLite."""
    reads: list[int] = []
    if connection.dialect.name == "sqlite":
        raw: Any = connection.connection.driver_connection
        raw.set_progress_handler(lambda: reads.append(1), 100)
        yield reads
        raw.set_progress_handler(None, 0)
        return

    def explain(conn: Connection, _: object, statement: str, parameters: Any, *__: object) -> None:
        if statement.startswith(("SELECT", "WITH")):
            with conn.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
                found = cursor.fetchone()[0]
            plan = found if isinstance(found, list) else json.loads(found)
            reads.append(touched(plan[0]["Plan"]))

    event.listen(connection, "before_cursor_execute", explain)
    yield reads
    event.remove(connection, "before_cursor_execute", explain)


def touched(plan: dict[str, Any]) -> int:
    """Records and index entries that a plan's scans looked at."""
    own = 0
    if plan["Node Type"].endswith("Scan"):
        kinds = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        own = int(sum(plan.get(kind, 0) for kind in kinds) * plan["Actual Loops"])
    return own + sum(touched(each) for each in plan.get("Plans", ()))


def cost(database: Database, pool: PoolRow, ask: Ask) -> int:
    """What one request of the pool's owner reads."""
    opened = database.write() if ask in WRITES else database.read()
    with opened as session:
        ask(session, pool.organisation_id, pool)  # prepares what a connection does once
    opened = database.write() if ask in WRITES else database.read()
    with opened as session, counting(session.connection()) as reads:
        ask(session, pool.organisation_id, pool)
    return sum(reads)


def listing(wanted: Wanted, *, deep: bool = False) -> Ask:
    """A page of a list; the one behind its middle."""

    def ask(session: Session, organisation_id: str, pool: PoolRow) -> object:
        del pool
        middle = (START + timedelta(seconds=SMALL // 2), "mdl_5")
        by_name = (name_key(f"model {SMALL // 2:06d}"), "mdl_5")
        after = (by_name if wanted.order is Order.NAME else middle) if deep else None
        return page(session, ModelRow, organisation_id, after=after, limit=20, wanted=wanted)

    return ask


def order_build(session: Session, organisation_id: str, pool: PoolRow) -> object:
    """A build over the whole pool."""
    return build.start_build(
        session,
        organisation_id,
        pool_name=pool.name,
        recipe=Recipe(algorithm="free"),
        model_ids=None,
        seed=3,
    )


def one_record(session: Session, organisation_id: str, pool: PoolRow) -> object:
    """One model."""
    ids = select(ModelRow.id).where(ModelRow.pool_id == pool.id).order_by(ModelRow.created_at)
    return repository.find_model(session, organisation_id, session.scalars(ids.limit(1)).one())


NEWEST, NAMES = Wanted(), Wanted(order=Order.NAME)
READY, REJECTED = {ModelRow.status: ModelStatus.READY}, {ModelRow.status: ModelStatus.REJECTED}
REQUESTS: dict[str, Ask] = {
    "newest first": listing(NEWEST),
    "newest first, deep": listing(NEWEST, deep=True),
    "by name": listing(NAMES),
    "by name, deep": listing(NAMES, deep=True),
    "names that begin so": listing(Wanted(order=Order.NAME, prefix="model 0001")),
    "names that none has": listing(Wanted(order=Order.NAME, prefix="nothing")),
    "a common state": listing(Wanted(equal=READY)),
    "a rare state": listing(Wanted(equal=REJECTED)),
    "a rare backbone": listing(Wanted(equal={ModelRow.backbone: "resnet18"})),
    "a rare domain": listing(Wanted(equal={ModelRow.domain: "rare"})),
    "no such domain": listing(Wanted(equal={ModelRow.domain: "none"})),
    "filters that nothing passes": listing(
        Wanted(equal={ModelRow.domain: "common", ModelRow.backbone: "resnet18"})
    ),
    "a rare state by name": listing(Wanted(order=Order.NAME, equal=REJECTED)),
    "one record": one_record,
    "a build over the pool": order_build,
}
WRITES = (order_build,)


def test_every_request_reads_as_much_of_a_large_pool_as_of_a_small_one(
    database: Database, pools: tuple[PoolRow, PoolRow]
) -> None:
    read = {
        name: tuple(cost(database, pool, ask) for pool in pools) for name, ask in REQUESTS.items()
    }
    assert all(small > 0 for small, _ in read.values()), read
    assert {name: both for name, both in read.items() if both[1] > both[0] * 1.1 + 20} == {}


def test_what_was_left_behind_in_a_pool_is_listed_without_a_look_at_the_rest(
    database: Database, pools: tuple[PoolRow, PoolRow]
) -> None:
    """An organisation that may not see the pool any more still sees its own models there."""
    for pool in pools:
        with database.write() as session:
            heir = add_organisation(session, f"heir of {pool.name}").id
            set_member(session, pool.organisation_id, pool.id, member_id=heir, roles=[Role.OWNER])
            set_member(
                session, heir, pool.id, member_id=pool.organisation_id, roles=[Role.CONSUMER]
            )
    for wanted in (NEWEST, NAMES, Wanted(equal=REJECTED)):
        small, large = (cost(database, pool, listing(wanted)) for pool in pools)
        assert 0 < large <= small * 1.1 + 20, wanted
