"""Log lines: JSON in production, text for reading, with the ids of what is at work.

Covered: of a record's extras only FIELDS leave, and of an exception its type and the places it
passed, never its message, which may quote what a client sent.
Not covered: the text of our own messages, which is constant but for ids, counts and types.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from pool.settings import Settings

FIELDS = (
    "request_id",
    "job_id",
    "subject_id",
    "holder",
    "kind",
    "attempt",
    "method",
    "route",
    "status",
    "outcome",
    "code",
    "cause",
    "exit_code",
    "duration_ms",
)
"""What a line may carry beside its message. `subject_id` is the model or build of a job."""

QUIET = ("celery", "kombu", "amqp", "urllib3", "sqlalchemy", "alembic", "asyncio", "fastapi")
"""Libraries of whose routine nothing is logged."""

_bound: ContextVar[dict[str, str]] = ContextVar("log_ids", default={})  # noqa: B039  # replaced whole


@contextmanager
def bound(**ids: str) -> Iterator[None]:
    """Put these ids on every line that is logged inside, in called code and its threads' pool."""
    token = _bound.set(_bound.get() | ids)
    try:
        yield
    finally:
        _bound.reset(token)


def configure(settings: Settings) -> None:
    """Send this process's lines, its libraries' included, to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.logs_are_json else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # It shows paths and queries as sent; the line of app/limits.py shows the route's template.
    logging.getLogger("uvicorn.access").disabled = True


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What the line carries beside its message, in the order of FIELDS."""
    given = {**_bound.get(), **vars(record)}
    found = {name: given[name] for name in FIELDS if given.get(name) is not None}
    if record.exc_info and record.exc_info[0] is not None:
        found["cause"] = record.exc_info[0].__name__
    return found


def message_of(record: logging.LogRecord) -> str:
    """The message; of asyncio's only the first line, for an exception's text follows."""
    text = record.getMessage()
    return text.partition("\n")[0] if record.name == "asyncio" else text.strip()


def failure(error: BaseException) -> dict[str, str]:
    """What a line may say of an exception, as its `extra`."""
    places = "".join(traceback.format_tb(error.__traceback__))
    return {"cause": type(error).__name__, "places": places}


def places_of(record: logging.LogRecord) -> str:
    """Where the line's exception passed, without what it says."""
    given: str = getattr(record, "places", "")
    if given or not record.exc_info:
        return given
    return "".join(traceback.format_tb(record.exc_info[2]))


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        line: dict[str, object] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
            **fields_of(record),
        }
        if places := places_of(record):
            line["places"] = places
        return json.dumps(line, ensure_ascii=False)


class TextLines(logging.Formatter):
    """The same for reading: time, level, message, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, and an exception's places below it."""
        said = " ".join(f"{name}={value}" for name, value in fields_of(record).items())
        line = f"{_moment(record)} {record.levelname} {message_of(record)} {said}".rstrip()
        places = places_of(record)
        return f"{line}\n{places.rstrip()}" if places else line
