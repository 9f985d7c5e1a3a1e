"""/metrics: closed by default, the same deployment from every replica, right to the last job."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import event, update
from starlette.testclient import TestClient

from app.main import create_app
from app.metrics import DeploymentCollector
from pool.database import heartbeats, jobs
from pool.database.session import Database
from pool.database.tables import BuildRow, JobRow, MetaLearnerRow, ModelRow
from pool.domain import JobStatus, ModelStatus, utc_now
from pool.settings import Settings

TOKEN = "a-token-of-the-metrics-tests"
AddModel = Callable[..., ModelRow]
AddBuild = Callable[..., BuildRow]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})


@pytest.fixture
def scrape(app: FastAPI, anonymous: TestClient) -> Callable[[], dict[str, float]]:
    """Every sample as `name{label="value"}`; what was remembered is counted anew."""

    def read() -> dict[str, float]:
        for collector in list(app.state.instruments.registry._collector_to_names):
            if isinstance(collector, DeploymentCollector):
                collector._last = None
        answer = anonymous.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        return samples(answer.text)

    return read


def samples(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            said = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{said}}}" if said else sample.name] = sample.value
    return found


def run_job(database: Database, job_id: str, status: JobStatus, *, seconds: float) -> None:
    """Claim a job and end it as if it had taken so long."""
    with database.write() as session:
        run = jobs.claim(session, job_id, holder=f"run_{job_id}", lease_s=60)
        assert run is not None
        session.execute(
            update(JobRow)
            .where(JobRow.id == job_id)
            .values(started_at=utc_now() - timedelta(seconds=seconds))
        )
    with database.write() as session:
        rate = {"metrics": {"recovered_tasks_per_s": 0.5}}
        jobs.record(session, run, "progress", rate)
        jobs.finish(session, run, status)


@pytest.mark.parametrize("given", [None, "wrong", "", TOKEN + "x", "mp_an-admins-key-of-the-tests"])
def test_nobody_reads_metrics_without_the_token(anonymous: TestClient, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": f"Bearer {given}"}
    answer = anonymous.get("/metrics", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")


@pytest.mark.parametrize("given", ["", "mp_an-admins-key-of-the-tests"])
def test_where_no_token_is_set_nobody_reads_metrics(settings: Settings, given: str) -> None:
    closed = create_app(settings.model_copy(update={"metrics_token": SecretStr("")}))
    with TestClient(closed) as client:
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {given}"})
    assert answer.status_code == 401


def test_queues_models_and_workers_are_those_of_the_database(
    scrape: Callable[[], dict[str, float]],
    database: Database,
    add_model: AddModel,
    add_build: AddBuild,
) -> None:
    add_model()
    add_model(ModelStatus.REJECTED, reason_code="hostile-pickle")
    add_model(ModelStatus.REJECTED, reason_code="hostile-pickle")
    add_build()
    build = add_build()
    with database.write() as session:
        session.execute(
            update(JobRow)
            .where(JobRow.id == build.job_id)
            .values(created_at=utc_now() - timedelta(seconds=500))
        )
        heartbeats.beat(session, "a@here", queues=["gpu"])
        heartbeats.beat(session, heartbeats.SWEEP)
    found = scrape()
    assert found["modelpool_database_up"] == 1
    assert found["modelpool_queue_depth{kind=build}"] == 2
    assert found["modelpool_queue_depth{kind=inspect}"] == 0
    assert 500 <= found["modelpool_queue_oldest_age_seconds{kind=build}"] < 560
    assert found["modelpool_queue_oldest_age_seconds{kind=inspect}"] == 0
    assert found["modelpool_jobs{kind=build,status=queued}"] == 2
    assert found["modelpool_models{status=ready}"] == 1
    assert found["modelpool_models{status=rejected}"] == 2
    assert found["modelpool_models_rejected{reason=hostile-pickle}"] == 2
    assert found["modelpool_workers{queue=gpu}"] == 1
    assert found["modelpool_workers{queue=inspect}"] == 0
    assert abs(found["modelpool_last_sweep_timestamp_seconds"] - utc_now().timestamp()) < 60


def test_every_job_that_ended_is_counted_once_by_how_long_it_took(
    scrape: Callable[[], dict[str, float]], database: Database, add_build: AddBuild
) -> None:
    for status, seconds in ((JobStatus.SUCCEEDED, 20), (JobStatus.SUCCEEDED, 200)):
        run_job(database, add_build().job_id, status, seconds=seconds)
    scrape()
    found = scrape()
    name = "modelpool_job_duration_seconds"
    assert found[f"{name}_count{{kind=build,status=succeeded}}"] == 2
    assert found[f"{name}_bucket{{kind=build,le=30.0,status=succeeded}}"] == 1
    assert found[f"{name}_bucket{{kind=build,le=300.0,status=succeeded}}"] == 2
    run_job(database, add_build().job_id, JobStatus.FAILED, seconds=1)
    found = scrape()
    assert found[f"{name}_count{{kind=build,status=succeeded}}"] == 2
    assert found[f"{name}_count{{kind=build,status=failed}}"] == 1
    assert found["modelpool_build_recovered_tasks_per_second_count"] == 3
    assert found["modelpool_build_recovered_tasks_per_second_sum"] == 1.5


def test_a_job_whose_end_is_committed_late_is_counted_too(
    scrape: Callable[[], dict[str, float]], database: Database, add_build: AddBuild
) -> None:
    run_job(database, add_build().job_id, JobStatus.SUCCEEDED, seconds=5)
    scrape()
    late = add_build().job_id
    run_job(database, late, JobStatus.SUCCEEDED, seconds=5)
    with database.write() as session:
        session.execute(
            update(JobRow)
            .where(JobRow.id == late)
            .values(finished_at=utc_now() - timedelta(seconds=100))
        )
    name = "modelpool_job_duration_seconds_count{kind=build,status=succeeded}"
    assert scrape()[name] == 2


def test_a_second_replica_says_the_same_of_the_deployment(
    scrape: Callable[[], dict[str, float]],
    settings: Settings,
    database: Database,
    add_build: AddBuild,
) -> None:
    run_job(database, add_build().job_id, JobStatus.SUCCEEDED, seconds=20)
    first = scrape()
    with TestClient(create_app(settings)) as other:
        answer = other.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    second = samples(answer.text)
    shared = [
        name
        for name in first
        if not name.startswith(("process_", "modelpool_http", "modelpool_adaptation"))
        and "_created" not in name
    ]
    assert len(shared) > 30
    assert {name: second[name] for name in shared} == {name: first[name] for name in shared}


def test_the_rate_of_running_builds_is_what_they_reported_last(
    scrape: Callable[[], dict[str, float]], database: Database, add_build: AddBuild
) -> None:
    for holder, rates in (("a", (9.0, 1.5)), ("b", (2.0,))):
        build = add_build()
        with database.write() as session:
            run = jobs.claim(session, build.job_id, holder=holder, lease_s=60)
            assert run is not None
            for rate in rates:
                jobs.record(session, run, "progress", {"metrics": {"recovered_tasks_per_s": rate}})
            jobs.record(session, run, "log", {"message": "m"})
    assert scrape()["modelpool_recovered_tasks_per_second"] == 3.5


def test_requests_are_counted_by_template_and_uploads_refused_at_the_door_by_code(
    scrape: Callable[[], dict[str, float]], upload: Callable[..., Any], client: TestClient
) -> None:
    client.get("/v1/models/mdl_hunter2")
    client.get("/hunter2")
    client.request("HUNTER2", "/v1/models")
    assert upload(b"").status_code == 422
    found = scrape()
    count = "modelpool_http_request_duration_seconds_count"
    assert found[f"{count}{{method=GET,route=/v1/models/{{model_id}},status=404}}"] == 1
    problems = "modelpool_http_problems_total"
    assert found[f"{problems}{{code=empty-checkpoint,method=POST,route=/v1/models}}"] == 1
    assert (
        found[f"{problems}{{code=model-not-found,method=GET,route=/v1/models/{{model_id}}}}"] == 1
    )
    assert "hunter2" not in str(found).lower()
    assert found["modelpool_http_requests_in_flight"] == 1  # the scrape itself


def test_an_answered_few_shot_request_is_timed(
    scrape: Callable[[], dict[str, float]],
    ask: Callable[..., Any],
    add_meta_learner: Callable[..., MetaLearnerRow],
    encode: Callable[..., bytes],
) -> None:
    learner = add_meta_learner()
    answer = ask(learner.id, [("a", encode(1)), ("b", encode(2))], [encode(3)])
    found = scrape()
    assert found["modelpool_adaptation_duration_seconds_count"] == 1
    took_s = answer.json()["stages_ms"]["adapt_and_predict"] / 1000
    assert found["modelpool_adaptation_duration_seconds_sum"] == pytest.approx(took_s)


def test_metrics_without_a_database_say_so(
    scrape: Callable[[], dict[str, float]], settings: Settings
) -> None:
    (settings.var_dir / "modelpool.db").unlink()
    found = scrape()
    assert found["modelpool_database_up"] == 0
    assert "modelpool_queue_depth{kind=build}" not in found


def test_scrapers_that_ask_at_once_cost_one_look_at_sql(
    app: FastAPI, anonymous: TestClient, database: Database
) -> None:
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    anonymous.get("/metrics", headers=headers)
    once = len(asked)
    for _ in range(5):
        anonymous.get("/metrics", headers=headers)
    assert 0 < once == len(asked)
