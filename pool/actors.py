"""Who acts: the API key and the request behind what is being done, for the audit trail alone.

Nothing is permitted or refused by it. The HTTP edge opens it a request and fills it in when the
caller is known; in workers and commands nobody does, and what they do is the deployment's own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Actor:
    """Filled in by reference: threads of one request see the same object."""

    organisation_id: str | None = None
    key_id: str | None = None
    request_id: str | None = None


_acting: ContextVar[Actor | None] = ContextVar("actor", default=None)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Say who acts, in called code and its threads' pool."""
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


def actor() -> Actor:
    """Who acts now; nobody in particular outside a request."""
    return _acting.get() or Actor()
