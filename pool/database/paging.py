"""Lists, page by page: what a page costs does not depend on how long the list is.

Each source of the list (a pool, mostly) is asked for its first records behind the last page, from
an index that has them in order, and the answers are merged. What no index filters is looked for
among a source's next WINDOW records; a page that finds less than it may hold then ends where the
first window does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, select, tuple_, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from pool.database.names import after_prefix
from pool.database.tables import BuildRow, MetaLearnerRow, ModelRow
from pool.database.upload_tables import UploadRow
from pool.database.visible import Listed, Source, sources

Record = TypeVar("Record", ModelRow, BuildRow, MetaLearnerRow, UploadRow)
Column = InstrumentedAttribute[Any]

WINDOW = 2000
"""So many records of a source a page looks through; some milliseconds."""
AT_ONCE = 100
"""Sources in one query; SQLite takes up to 500."""
INDEXED = (ModelRow.domain, ModelRow.backbone, ModelRow.status)
"""Of which a pool's newest are found by an index, the most selective first."""

Position = tuple[datetime | str, str]
"""Where a page ends: what the list is ordered by, and the id, of the last record looked at."""


class Order(StrEnum):
    """What comes first."""

    NEWEST = "newest"
    NAME = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of the records that an organisation may see, and in what order."""

    order: Order = Order.NEWEST
    equal: Mapping[Column, str] = field(default_factory=dict)
    pool_id: str | None = None
    prefix: str = ""
    """Of a model's name, folded by `name_key`; only in the order of names."""


EVERYTHING = Wanted()


def page(
    session: Session,
    table: type[Record],
    organisation_id: str,
    *,
    after: Position | None,
    limit: int,
    wanted: Wanted = EVERYTHING,
) -> tuple[list[Record], Position | None]:
    """What the organisation may see and wants, behind `after`; where the next page starts.

    A page may hold fewer than `limit`, even none, although another follows: where a filter lets
    little through.
    """
    walks = [
        _Walk(table, source, wanted, after)
        for source in sources(session, table, organisation_id, pool_id=wanted.pool_id)
    ]
    newest = wanted.order is Order.NEWEST
    found = sorted(_ask(session, [each.matches(limit + 1) for each in walks]), reverse=newest)
    ends = _ask(session, [each.end_of_window() for each in walks if each.sifted])
    looked_until = (max if newest else min)(ends, default=None)
    if looked_until is not None:  # behind it another source's records may come first
        found = [
            each for each in found if (each >= looked_until if newest else each <= looked_until)
        ]
    following = found[limit - 1] if len(found) > limit else looked_until
    return _load(session, table, [record_id for _, record_id in found[:limit]]), following


def _load(session: Session, table: type[Record], ids: Sequence[str]) -> list[Record]:
    rows = {row.id: row for row in session.scalars(select(table).where(table.id.in_(ids)))}
    return [rows[each] for each in ids]


def _ask(session: Session, queries: Sequence[Select[Any]]) -> list[Position]:
    """The positions that the queries find, all together."""
    return [
        (key, record_id)
        for start in range(0, len(queries), AT_ONCE)
        for key, record_id in session.execute(union_all(*queries[start : start + AT_ONCE]))
    ]


class _Walk:
    """One source of a list, walked in its order from a position on."""

    def __init__(
        self, table: Listed, source: Source, wanted: Wanted, after: Position | None
    ) -> None:
        self._by_name = by_name = wanted.order is Order.NAME
        key: Column = ModelRow.name_key if by_name else table.created_at
        indexed = source.whole_pool and not by_name
        served = next((each for each in INDEXED if indexed and each in wanted.equal), None)
        self.sifted = {each: value for each, value in wanted.equal.items() if each is not served}
        """What no index finds."""
        ahead = [source.of]
        if served is not None:
            ahead.append(served == wanted.equal[served])
        if wanted.prefix:
            ahead += _beginning_with(wanted.prefix)
        columns = (key, table.id)
        if after is not None:
            place = tuple_(*columns)
            ahead.append(place > after if by_name else place < after)
        order = columns if by_name else tuple(each.desc() for each in columns)
        self._ahead = select(*columns, *self.sifted).where(*ahead).order_by(*order)

    def matches(self, most: int) -> Select[Any]:
        """The first records that pass, of the window where there is one."""
        if not self.sifted:
            return _apart(self._ahead.limit(most))
        window = self._ahead.limit(WINDOW).subquery()
        key, record_id, *sifted = window.c
        passing = [
            column == value for column, value in zip(sifted, self.sifted.values(), strict=True)
        ]
        order = (key, record_id) if self._by_name else (key.desc(), record_id.desc())
        return _apart(select(key, record_id).where(*passing).order_by(*order).limit(most))

    def end_of_window(self) -> Select[Any]:
        """The window's last record; none where the source does not fill it."""
        return _apart(self._ahead.offset(WINDOW - 1).limit(1))


def _apart(query: Select[*tuple[Any, ...]]) -> Select[Any]:
    """A record's place, as one query of a union, which would else take its limit for its own."""
    key, record_id, *_ = query.subquery().c
    return select(key, record_id)


def _beginning_with(prefix: str) -> Iterator[ColumnElement[bool]]:
    yield ModelRow.name_key >= prefix
    end = after_prefix(prefix)
    if end is not None:
        yield ModelRow.name_key < end
