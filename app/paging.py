"""Opaque keyset cursors: the last record seen, whatever was added or removed since."""

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from pool.database.repository import Position
from pool.errors import InvalidInput

Limit = Annotated[int, Query(ge=1, le=200, description="Records on a page.")]
Cursor = Annotated[
    str | None, Query(max_length=300, description="`next_cursor` of the page before.")
]


def encode_cursor(position: Position | None) -> str | None:
    """A position as text a client hands back unread."""
    if position is None:
        return None
    raw = json.dumps([position[0].isoformat(), position[1]])
    return base64.urlsafe_b64encode(raw.encode()).decode()


def decode_cursor(cursor: str | None) -> Position | None:
    """The position a cursor names.

    Raises:
        InvalidInput: it is none of ours.
    """
    if cursor is None:
        return None
    try:
        moment, record_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        created_at = datetime.fromisoformat(moment)
        if created_at.tzinfo is None or not isinstance(record_id, str):
            raise ValueError(cursor)
        created_at = created_at.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise InvalidInput(
            "This is no cursor of this list; leave it out to start at the newest record.",
            part="query/cursor",
        ) from error
    return created_at, record_id
