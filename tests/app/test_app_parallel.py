"""Fifty clients at once, over HTTP, on both databases: each thing happens once, nothing fails."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from live import serving
from parallel import at_once
from sqlalchemy import func, select

from app.main import create_app
from pool.database import jobs
from pool.database.limit_tables import PredictionCountRow
from pool.database.session import Database
from pool.database.tables import ApiKeyRow, Base, BuildRow, JobRow, ModelRow, PoolRow
from pool.domain import JobKind, JobStatus, ModelStatus
from pool.errors import QuotaExceeded
from pool.settings import Settings
from pool.setup import migrate
from pool.usecases import quotas
from pool.usecases.bootstrap import bootstrap
from tests.factories import ADMIN, model_row, postgres_database

QUOTA = {"quota_models": 3, "quota_bytes": 10**9, "quota_builds": 4, "quota_predictions": 5}


class Server:
    """A real server, its database, and a client that threads share."""

    def __init__(self, url: str, database: Database) -> None:
        self.database = database
        limits = httpx.Limits(max_connections=None)
        headers = {"Authorization": f"Bearer {ADMIN}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60, limits=limits)

    def count(self, table: type[Base]) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def upload(self, data: bytes, **headers: str) -> httpx.Response:
        manifest = {
            "name": "m",
            "backbone": "conv4",
            "n_classes": 2,
            "image_size": 32,
            "normalization": {"mean": [0.5] * 3, "std": [0.5] * 3},
        }
        parts = {"manifest": (None, json.dumps(manifest)), "checkpoint": ("m", data)}
        return self.http.post("/v1/models", files=parts, headers=headers)

    def add_models(self, n: int) -> list[ModelRow]:
        with self.database.write() as session:
            rows = [model_row(session.scalars(select(PoolRow)).one()) for _ in range(n)]
            session.add_all(rows)
        return rows

    def build(self, **headers: str) -> httpx.Response:
        return self.http.post(
            "/v1/builds", json={"recipe": {"algorithm": "ensemble"}}, headers=headers
        )


@pytest.fixture(scope="module")
def template() -> Iterator[str]:
    """A PostgreSQL database to copy, since migrating costs more than a test."""
    with postgres_database() as url:
        migrate(url)
        database = Database(url)
        bootstrap(database, ADMIN)
        database.dispose()
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    """A migrated, bootstrapped database of each kind."""
    if request.param == "sqlite":
        yield settings.database
    else:
        with postgres_database(request.getfixturevalue("template")) as copy:
            yield copy


@pytest.fixture
def serve(url: str, settings: Settings) -> Iterator[Callable[..., Server]]:
    """Start a server with some settings."""
    with ExitStack() as stack:

        def start(**changed: Any) -> Server:
            app = create_app(settings.model_copy(update={"database_url": url, **changed}))
            server = Server(stack.enter_context(serving(app)), app.state.database)
            stack.enter_context(server.http)
            return server

        yield start


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def assert_one_creation(answers: list[httpx.Response], status: int) -> None:
    """One created; each other one repeats its answer, or was told to ask again."""
    made = [each for each in answers if each.status_code == status]
    created = [each for each in made if "idempotency-replayed" not in each.headers]
    assert len(created) == 1, statuses(answers)
    assert {each.json()["id"] for each in made} == {created[0].json()["id"]}
    others = [each for each in answers if each.status_code != status]
    assert {(each.status_code, each.json()["code"]) for each in others} <= {
        (409, "request-in-flight")
    }
    assert all(int(each.headers["retry-after"]) >= 1 for each in others)


def test_fifty_creations_under_one_key_make_one_pool_one_build_one_key_and_one_model(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    server.add_models(2)
    before = {table: server.count(table) for table in (PoolRow, BuildRow, ApiKeyRow, ModelRow)}

    def headers(kind: str) -> dict[str, str]:
        return {"Idempotency-Key": f"the {kind}"}

    pool = {"name": "ward 3"}
    key = {"name": "k", "scopes": ["predict"]}
    kinds: dict[type[Base], tuple[int, Callable[[int], httpx.Response]]] = {
        PoolRow: (201, lambda _: server.http.post("/v1/pools", json=pool, headers=headers("pool"))),
        BuildRow: (202, lambda _: server.build(**headers("build"))),
        ApiKeyRow: (201, lambda _: server.http.post("/v1/keys", json=key, headers=headers("key"))),
        ModelRow: (202, lambda _: server.upload(b"weights", **headers("model"))),
    }
    for table, (status, ask) in kinds.items():
        assert_one_creation(at_once(ask), status)
        assert server.count(table) == before[table] + 1
        again = ask(0)
        assert (again.status_code, again.headers["idempotency-replayed"]) == (status, "true")


def test_fifty_uploads_of_the_same_bytes_without_a_key_make_one_model(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    answers = at_once(lambda _: server.upload(b"weights"))
    assert statuses(answers) == {202: 1, 200: 49}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert server.count(ModelRow) == 1
    assert server.count(JobRow) == 1


def test_fifty_pools_of_one_name_make_one(serve: Callable[..., Server]) -> None:
    server = serve()
    answers = at_once(lambda _: server.http.post("/v1/pools", json={"name": "ward 3"}))
    assert statuses(answers) == {201: 1, 409: 49}


def test_fifty_cancels_cancel_once_fifty_withdrawals_withdraw_once_fifty_revocations_revoke_once(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    model, _ = server.add_models(2)
    build = server.build().json()

    canceled = at_once(lambda _: server.http.post(f"/v1/builds/{build['id']}/cancel"))
    assert statuses(canceled) == {202: 1, 409: 49}
    with server.database.read() as session:
        row = session.scalars(select(BuildRow)).one()
        story = jobs.events_after(session, row.job_id, 0, limit=100)
    assert [event.payload["status"] for event in story] == ["canceled"]

    withdrawn = at_once(lambda _: server.http.delete(f"/v1/models/{model.id}"))
    assert statuses(withdrawn) == {200: 1, 409: 49}

    key = server.http.post("/v1/keys", json={"name": "k", "scopes": ["predict"]}).json()
    revoked = at_once(lambda _: server.http.delete(f"/v1/keys/{key['id']}"))
    assert statuses(revoked) == {200: 50}
    assert len({answer.json()["revoked_at"] for answer in revoked}) == 1


def test_builds_and_withdrawals_at_once_leave_no_build_over_a_withdrawn_model(
    serve: Callable[..., Server],
) -> None:
    """Whoever loses hears of it as 409: no answer is a server error, no build is overlooked."""
    server = serve(quota_builds=1000)
    models = server.add_models(6)
    ids = [model.id for model in models]

    def ask(number: int) -> httpx.Response:
        if number % 2:
            return server.http.delete(f"/v1/models/{ids[number % 4]}")
        order = {"recipe": {"algorithm": "ensemble"}, "models": ids[::-1] if number % 4 else ids}
        return server.http.post("/v1/builds", json=order if number % 3 else {})

    assert set(statuses(at_once(ask))) <= {200, 202, 409}
    with server.database.read() as session:
        for build in session.scalars(select(BuildRow)):
            if build.job.status == JobStatus.QUEUED:
                assert all(each.model.status == ModelStatus.READY for each in build.snapshot)


# Quotas.


def test_fifty_uploads_do_not_overrun_the_quota_of_models(serve: Callable[..., Server]) -> None:
    server = serve(**QUOTA)
    answers = at_once(lambda number: server.upload(b"weights %d" % number))
    assert statuses(answers) == {202: 3, 429: 47}
    assert {each.json()["code"] for each in answers if each.status_code == 429} == {
        "quota-exceeded"
    }
    assert server.count(ModelRow) == 3
    assert server.count(JobRow) == 3


def test_fifty_uploads_do_not_overrun_the_quota_of_bytes(serve: Callable[..., Server]) -> None:
    server = serve(quota_bytes=1000)
    answers = at_once(lambda number: server.upload(b"%03d" % number * 100))
    assert statuses(answers) == {202: 3, 429: 47}


def test_fifty_builds_do_not_overrun_their_quota(serve: Callable[..., Server]) -> None:
    server = serve(**QUOTA)
    server.add_models(2)
    answers = at_once(lambda _: server.build())
    assert statuses(answers) == {202: 4, 429: 46}
    assert server.count(BuildRow) == 4


def test_fifty_predictions_do_not_overrun_their_quota(serve: Callable[..., Server]) -> None:
    server = serve()
    with server.database.read() as session:
        organisation_id = session.scalars(select(PoolRow.organisation_id)).one()
    allowed = quotas.Quotas.of_deployment(Settings(**QUOTA))  # type: ignore[arg-type]

    def count(_: int) -> Any:
        try:
            with server.database.write() as session:
                quotas.count_prediction(session, organisation_id, allowed)
        except QuotaExceeded:
            return False
        return True

    assert Counter(at_once(count)) == {True: 5, False: 45}
    with server.database.read() as session:
        assert session.scalars(select(PredictionCountRow.count)).one() == 5


def test_of_fifty_claims_of_one_job_one_runs(serve: Callable[..., Server]) -> None:
    database = serve().database
    with database.write() as session:
        job_id = jobs.create(session, JobKind.BUILD, "subject").id

    def claim(number: int) -> Any:
        with database.write() as session:
            return jobs.claim(session, job_id, holder=f"run_{number}", lease_s=60)

    assert sum(run is not None for run in at_once(claim)) == 1
    with database.read() as session:
        assert session.get_one(JobRow, job_id).attempt == 1
