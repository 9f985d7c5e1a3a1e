"""Quotas: what is used up is answered 429, with what is used and when to come back."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from pool import set_quota
from pool.database.limit_tables import PredictionCountRow, QuotaRow
from pool.database.session import Database
from pool.database.tables import BuildRow, JobRow, ModelRow, PoolRow
from pool.domain import ModelStatus, Scope, utc_now
from pool.settings import Settings
from pool.usecases import quotas

Upload = Callable[..., Any]


@pytest.fixture
def allow(database: Database, pool_row: PoolRow) -> Callable[..., None]:
    """Give the organisation quotas of its own."""

    def change(**own: int) -> None:
        with database.write() as session:
            session.merge(QuotaRow(organisation_id=pool_row.organisation_id, **own))

    return change


def assert_used_up(answer: Any, *said: str) -> int:
    """A problem document that says what is used; how long to wait, in seconds."""
    assert (answer.status_code, answer.json()["code"]) == (429, "quota-exceeded")
    for text in said:
        assert text in answer.json()["detail"]
    return int(answer.headers["retry-after"])


def test_the_quota_of_models_counts_live_ones_only(
    upload: Upload, allow: Callable[..., None], client: TestClient, add_model: Callable[..., Any]
) -> None:
    allow(live_models=2)
    add_model(ModelStatus.REJECTED)
    add_model(ModelStatus.WITHDRAWN)
    first = upload(b"1").json()
    assert upload(b"2").status_code == 202
    assert assert_used_up(upload(b"3"), "2 of 2 live models", "Withdraw") == 3600
    client.delete(f"/v1/models/{first['id']}")
    assert upload(b"3").status_code == 202


def test_the_quota_of_bytes_counts_models_and_meta_learners(
    upload: Upload, allow: Callable[..., None], add_meta_learner: Callable[..., Any]
) -> None:
    learner = add_meta_learner()
    allow(stored_bytes=learner.size_bytes + 10)
    assert upload(b"12345678").status_code == 202
    assert upload(b"12").status_code == 202
    refused = upload(b"3")
    assert assert_used_up(refused, f"{learner.size_bytes + 10:,} bytes", "1 more") == 3600


def test_a_body_that_cannot_fit_is_refused_before_it_is_read(
    app: FastAPI, client: TestClient, allow: Callable[..., None]
) -> None:
    allow(stored_bytes=1000)
    received = 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {
        "authorization": client.headers["authorization"],
        "content-type": "multipart/form-data; boundary=x",
        "content-length": "400000",
    }
    app.state.settings.max_checkpoint_bytes = 10**9
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/models",
        "query_string": b"",
        "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
        "client": ("192.0.2.1", 1),
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert (sent[0]["status"], received) == (429, 0)


def test_a_refused_upload_leaves_no_object_and_no_record(
    app: FastAPI, upload: Upload, allow: Callable[..., None], database: Database
) -> None:
    allow(stored_bytes=3)
    assert_used_up(upload(b"1234"))
    assert list(app.state.store.keys("quarantine/")) == []
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(ModelRow)) == 0
        assert session.scalar(select(func.count()).select_from(JobRow)) == 0


def test_an_upload_that_is_repeated_under_its_key_needs_no_room(
    client: TestClient, upload: Upload, allow: Callable[..., None]
) -> None:
    allow(live_models=1)
    client.headers["Idempotency-Key"] = "k"
    first, again = upload(), upload()
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["idempotency-replayed"] == "true"


def test_builds_wait_for_others_to_end_as_long_as_those_are_estimated(
    client: TestClient,
    allow: Callable[..., None],
    add_model: Callable[..., Any],
    database: Database,
) -> None:
    allow(concurrent_builds=1)
    add_model()
    add_model()
    order = {"recipe": {"algorithm": "ensemble"}}
    build = client.post("/v1/builds", json=order).json()
    refused = client.post("/v1/builds", json=order)
    assert assert_used_up(refused, "1 of 1 builds", "cancel") == quotas.BUILD_POLL_S
    for eta_s, waits in ((42.5, 42), (1.0, quotas.BUILD_POLL_S), (1e6, quotas.BUILD_WAIT_S)):
        with database.write() as session:
            session.scalars(select(BuildRow)).one().job.eta_s = eta_s
        assert assert_used_up(client.post("/v1/builds", json=order)) == waits
    client.post(f"/v1/builds/{build['id']}/cancel")
    assert client.post("/v1/builds", json=order).status_code == 202


def test_predictions_of_a_day_are_counted_and_end_at_midnight(
    ask: Callable[..., Any],
    allow: Callable[..., None],
    add_meta_learner: Callable[..., Any],
    encode: Callable[..., bytes],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner = add_meta_learner()
    allow(predictions_per_day=2)

    def predict() -> Any:
        return ask(learner.id, [("a", encode(1)), ("b", encode(2))], [encode(3)])

    evening = datetime(2026, 3, 1, 23, 59, 30, tzinfo=UTC)
    monkeypatch.setattr(quotas, "utc_now", lambda: evening)
    assert [predict().status_code for _ in range(2)] == [200, 200]
    assert assert_used_up(predict(), "all 2 few-shot requests") == 31
    monkeypatch.setattr(quotas, "utc_now", lambda: evening + timedelta(seconds=31))
    assert predict().status_code == 200
    with database.read() as session:
        counts = session.scalars(select(PredictionCountRow.count).order_by(PredictionCountRow.day))
        assert list(counts) == [2, 1]


def test_counts_of_days_long_past_are_forgotten(database: Database, pool_row: PoolRow) -> None:
    today = utc_now().date()
    with database.write() as session:
        for age in (0, 31, 32, 400):
            day = today - timedelta(days=age)
            session.add(
                PredictionCountRow(organisation_id=pool_row.organisation_id, day=day, count=1)
            )
    with database.write() as session:
        assert quotas.forget_old_counts(session) == 2


@pytest.mark.parametrize("column", list(quotas.Quotas.__dataclass_fields__))
def test_a_quota_of_zero_allows_nothing(
    column: str,
    allow: Callable[..., None],
    upload: Upload,
    client: TestClient,
    add_model: Callable[..., Any],
    add_meta_learner: Callable[..., Any],
    ask: Callable[..., Any],
    encode: Callable[..., bytes],
) -> None:
    learner = add_meta_learner(add_model(), add_model())
    allow(**{column: 0})
    asked = {
        "stored_bytes": upload,
        "live_models": upload,
        "concurrent_builds": lambda: client.post("/v1/builds", json={}),
        "predictions_per_day": lambda: ask(
            learner.id, [("a", encode(1)), ("b", encode(2))], [encode(3)]
        ),
    }
    assert_used_up(asked[column]())


def test_usage_shows_limits_and_use_to_any_key(
    upload: Upload,
    allow: Callable[..., None],
    settings: Settings,
    with_scopes: Callable[..., TestClient],
    anonymous: TestClient,
    pool_row: PoolRow,
) -> None:
    allow(live_models=7)
    upload(b"12345")
    found = with_scopes(Scope.PREDICT).get("/v1/usage").json()
    assert found == {
        "organisation_id": pool_row.organisation_id,
        "stored_bytes": {"limit": settings.quota_bytes, "used": 5},
        "live_models": {"limit": 7, "used": 1},
        "concurrent_builds": {"limit": settings.quota_builds, "used": 0},
        "predictions_per_day": {"limit": settings.quota_predictions, "used": 0},
        "rates": {
            "requests_per_minute": settings.requests_per_minute,
            "predictions_per_minute": settings.predictions_per_minute,
        },
    }
    assert anonymous.get("/v1/usage").status_code == 401


def test_an_operator_sets_an_organisations_quotas_and_takes_them_back(
    settings: Settings,
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODELPOOL_VAR", str(settings.var))
    assert set_quota.main(["default", "--models", "5", "--builds", "0"]) == 0
    assert "models: 5\nbuilds: 0\n" in capsys.readouterr().out
    assert client.get("/v1/usage").json()["live_models"]["limit"] == 5
    assert set_quota.main(["default", "--models", "default"]) == 0
    usage = client.get("/v1/usage").json()
    assert usage["live_models"]["limit"] == settings.quota_models
    assert usage["concurrent_builds"]["limit"] == 0
    assert set_quota.main(["nobody"]) == 1
    with pytest.raises(SystemExit):
        set_quota.main(["default", "--models", "-1"])
