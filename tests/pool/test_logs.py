"""Log lines carry ids and places, whoever logs them, and nothing that a client sent."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from pool import logs
from pool.settings import Settings

SECRET = "a-label-that-nobody-may-read"
Lines = Callable[[], list[dict[str, object]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What was logged as JSON since; the logging that the test found is put back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    for handler in before:
        root.removeHandler(handler)  # so that configuring does not close pytest's
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure(Settings(log_format="json"))
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False


def test_a_line_says_when_how_grave_who_and_what_with_the_ids_at_work(lines: Lines) -> None:
    with logs.bound(request_id="r1"), logs.bound(job_id="job_1"):
        logging.getLogger("app.x").warning("moved %d", 3, extra={"status": 200})
    logging.getLogger("app.x").info("outside")
    inside, outside = lines()
    assert datetime.fromisoformat(str(inside.pop("time"))).utcoffset() == timedelta(0)
    assert inside == {
        "level": "warning",
        "logger": "app.x",
        "message": "moved 3",
        "request_id": "r1",
        "job_id": "job_1",
        "status": 200,
    }
    assert "request_id" not in outside


def test_an_exception_is_logged_as_its_type_and_places_never_its_message(lines: Lines) -> None:
    def break_down() -> None:
        raise ValueError(SECRET)

    try:
        break_down()
    except ValueError as error:
        logging.getLogger("any.library").exception("failed")
        logging.getLogger("worker.x").error("failed too", extra=logs.failure(error))
    for line in lines():
        assert line["cause"] == "ValueError"
        assert "break_down" in str(line["places"])
        assert SECRET not in json.dumps(line)


def test_extras_that_are_not_on_the_list_stay_out(lines: Lines) -> None:
    logging.getLogger("x").warning("m", extra={"label": SECRET, "headers": {"key": SECRET}})
    assert SECRET not in json.dumps(lines())


def test_a_forgotten_asyncio_task_does_not_log_its_exceptions_message(lines: Lines) -> None:
    async def forget() -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "Task exception was never retrieved", "exception": ValueError(SECRET)}
        )

    asyncio.run(forget())
    (line,) = lines()
    assert line["message"] == "Task exception was never retrieved"
    assert SECRET not in json.dumps(line)


def test_the_web_servers_access_log_which_shows_paths_and_queries_is_off(lines: Lines) -> None:
    logging.getLogger("uvicorn.access").info('%s - "GET /v1/models?cursor=%s"', "peer", SECRET)
    logging.getLogger("uvicorn.error").info("Application startup complete.")
    assert [line["message"] for line in lines()] == ["Application startup complete."]


def test_text_lines_carry_the_same_fields() -> None:
    record = logging.LogRecord("app.x", logging.INFO, __file__, 1, "sent", None, None)
    record.job_id = "job_1"
    try:
        raise ValueError(SECRET)
    except ValueError:
        record.exc_info = sys.exc_info()
    text = logs.TextLines().format(record)
    assert "INFO sent job_id=job_1 cause=ValueError\n" in text
    assert "test_logs.py" in text
    assert f"ValueError: {SECRET}" not in text


@pytest.mark.parametrize(
    ("environment", "log_format", "json_lines"),
    [
        ("embedded", "auto", False),
        ("production", "auto", True),
        ("production", "text", False),
        ("embedded", "json", True),
    ],
)
def test_production_logs_json_unless_told_otherwise(
    environment: str, log_format: str, json_lines: bool
) -> None:
    settings = Settings(
        environment=environment,
        log_format=log_format,
        database_url="postgresql+psycopg:///x",
        broker_url="redis://x",
        storage_url="file:///x",
    )
    assert settings.logs_are_json is json_lines
