"""Plain route functions run in threads, and their transactions need no second one to end."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient

import app.routes
from app.threads import in_a_thread


def routes() -> Iterator[APIRoute]:
    for module in pkgutil.iter_modules(app.routes.__path__):
        router = importlib.import_module(f"app.routes.{module.name}").router
        yield from router.routes


def test_no_route_is_left_to_fastapis_second_thread() -> None:
    """Else forty requests that wait for one session's row keep that session from ending."""
    plain = [
        route.path
        for route in routes()
        if not inspect.iscoroutinefunction(route.dependant.call)
        and not inspect.isasyncgenfunction(route.dependant.call)
    ]
    assert plain == []


def test_a_function_keeps_its_name_words_and_signature() -> None:
    def function(a: int, b: str = "x") -> str:
        """Words."""
        return b * a

    call = in_a_thread(function)
    assert (call.__name__, call.__doc__) == ("function", "Words.")
    assert inspect.signature(call) == inspect.signature(function)


@pytest.mark.parametrize(("code", "status"), [("UNIQUE", 409), ("FOREIGNKEY", 500)])
def test_a_race_that_no_use_case_foresaw_is_409_and_a_defect_is_500(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, code: str, status: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        cause = Exception("UNIQUE constraint failed: hunter2")
        cause.sqlite_errorname = f"SQLITE_CONSTRAINT_{code}"  # type: ignore[attr-defined]
        raise IntegrityError("INSERT", {}, cause)

    monkeypatch.setattr("app.routes.pools.create_pool", fail)
    answer = client.post("/v1/pools", json={"name": "a"})
    assert answer.status_code == status
    assert "hunter2" not in answer.text
    if status == 409:
        assert answer.json()["code"] == "concurrent-change"
        assert answer.headers["retry-after"] == "1"
