"""A list is walked page by page without loss or repetition, on both databases."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from pool.database.repository import Position, page
from pool.database.session import Database
from pool.database.tables import ModelRow
from pool.domain import ModelStatus, utc_now

AddModel = Callable[..., ModelRow]


def walk(database: Database, organisation_id: str, *, limit: int) -> list[str]:
    seen: list[str] = []
    after: Position | None = None
    while True:
        with database.read() as session:
            rows, after = page(session, ModelRow, organisation_id, after=after, limit=limit)
        seen += [row.id for row in rows]
        if after is None:
            return seen


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
    where = [ModelRow.status == ModelStatus.READY]
    with database.read() as session:
        rows, _ = page(session, ModelRow, organisation_id, after=None, limit=9, where=where)
        others, _ = page(session, ModelRow, "org_other", after=None, limit=9)
    assert ([row.id for row in rows], others) == ([ready.id], [])
