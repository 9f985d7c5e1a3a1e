"""Opaque keyset cursors: the last record seen, whatever was added or removed since."""

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query

from pool.database.names import KEY_CHARS
from pool.database.paging import EVERYTHING, Order, Position, Wanted
from pool.errors import InvalidInput

MAX_CURSOR_CHARS = 1500
"""Of the longest name, in letters of four bytes, in base64."""

Limit = Annotated[int, Query(ge=1, le=200, description="Records on a page.")]
Cursor = Annotated[
    str | None,
    Query(max_length=MAX_CURSOR_CHARS, description="`next_cursor` of the page before."),
]


def encode_cursor(position: Position | None, wanted: Wanted = EVERYTHING) -> str | None:
    """A position in a list as text a client hands back unread."""
    if position is None:
        return None
    key, record_id = position
    place = [key.isoformat() if isinstance(key, datetime) else key, record_id]
    raw = json.dumps([*place, *_list_named(wanted)], ensure_ascii=False)
    return base64.urlsafe_b64encode(raw.encode()).decode()


def decode_cursor(cursor: str | None, wanted: Wanted = EVERYTHING) -> Position | None:
    """The position in this list that a cursor names.

    Raises:
        InvalidInput: it is none of ours, or of a list in another order or with other filters.
    """
    if cursor is None:
        return None
    try:
        key, record_id, *of = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        position = _moment(key) if _is_by_time(of) else _storable(key), _storable(record_id)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise InvalidInput(
            "This is no cursor of this list; leave it out to start at the first record.",
            part="query/cursor",
        ) from error
    if of != _list_named(wanted):
        raise InvalidInput(
            "This cursor is of a list in another order or with other filters. Send the parameters "
            "of the request that it came from, or leave it out to start at the first record.",
            part="query/cursor",
        )
    return position


def _list_named(wanted: Wanted) -> list[str]:
    """Tells lists apart that a client must not mix up; nothing for a list of everything."""
    if wanted == EVERYTHING:
        return []
    filters = {str(column): str(value) for column, value in wanted.equal.items()}
    said = json.dumps([filters, wanted.pool_id, wanted.prefix], sort_keys=True)
    return [wanted.order, hashlib.sha256(said.encode()).hexdigest()[:16]]


def _is_by_time(of: list[Any]) -> bool:
    return of[:1] != [Order.NAME]


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a moment without a zone")
    return moment.astimezone(UTC)


def _storable(value: Any) -> str:
    """Text that both databases can be asked about."""
    if not isinstance(value, str) or len(value) > KEY_CHARS or "\x00" in value:
        raise ValueError("no key of ours")
    value.encode()  # half a surrogate pair is no text
    return value
