"""Follow a job by stream, by long-poll or by its record: one story, whoever is cut off."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from live import serving
from sqlalchemy import event, text, update
from starlette.testclient import TestClient

from app.followers import EVENTS_A_READ, POLL_S
from pool.database import jobs
from pool.database.access_tables import PoolMemberRow
from pool.database.session import Database
from pool.database.tables import ApiKeyRow, BuildRow, JobEventRow, ModelRow, PoolRow
from pool.domain import JobKind, JobRun, JobStatus, ModelStatus, Scope, utc_now
from pool.roles import Role
from pool.usecases.inspect import accept_model
from pool.usecases.keys import create_key, revoke_key
from tests.factories import ADMIN

AddBuild = Callable[..., BuildRow]
Told = list[tuple[int, str, dict[str, Any]]]


def tell(database: Database, run: JobRun, *steps: int) -> None:
    for step in steps:
        with database.write() as session:
            jobs.record(session, run, "progress", {"step": step, "metrics": {"loss": 0.5}})


def finish(database: Database, run: JobRun) -> None:
    with database.write() as session:
        jobs.finish(session, run, JobStatus.SUCCEEDED)


def stream(http: httpx.Client | TestClient, build_id: str, after: int, *, cut: int = 9999) -> Told:
    """Events of the stream after one, until it ends or is cut behind `cut` events."""
    told: Told = []
    headers = {"Last-Event-ID": str(after)}
    with http.stream("GET", f"/v1/builds/{build_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "id" in fields:
                told.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                fields = {}
                if len(told) == cut:
                    break
    return told


def page(http: httpx.Client | TestClient, build_id: str, **query: Any) -> tuple[Told, int, bool]:
    answer = http.get(f"/v1/builds/{build_id}/events/poll", params=query)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    told = [(item["seq"], item["event"], item["data"]) for item in body["items"]]
    return told, body["next"], body["over"]


def poll(http: httpx.Client | TestClient, build_id: str) -> Told:
    """The whole story, one long-poll after another."""
    told, position, over = [], 0, False
    while not over:
        items, position, over = page(http, build_id, after=position, wait_s=30)
        told += items
    return told


def test_polling_tells_the_stream_s_events_in_the_stream_s_order(
    client: TestClient, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    with database.write() as session:
        session.add_all(
            JobEventRow(job_id=run.job_id, seq=seq, kind="log", payload={"message": f"m{seq}"})
            for seq in range(1, 2 * EVENTS_A_READ + 100)
        )
    finish(database, run)
    whole = stream(client, build_id, 0)
    assert [seq for seq, _, _ in whole] == list(range(1, 2 * EVENTS_A_READ + 101))
    assert poll(client, build_id) == whole
    last = whole[-1][0]
    assert page(client, build_id, after=last - 1) == (whole[-1:], last, True)
    assert page(client, build_id, after=last) == ([], last, True)


def test_a_poll_answers_what_is_there_at_once_and_nothing_when_its_time_is_over(
    client: TestClient, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    assert page(client, build_id, after=0, wait_s=0.1) == ([], 0, False)
    tell(database, run, 1)
    items, position, over = page(client, build_id, after=0, wait_s=0)
    assert ([seq for seq, _, _ in items], position, over) == ([1], 1, False)


def test_a_poll_answers_when_something_happens(
    client: TestClient, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    worker = threading.Timer(2 * POLL_S, tell, (database, run, 1))
    worker.start()
    items, _, over = page(client, build_id, after=0, wait_s=30)
    worker.join()
    assert ([seq for seq, _, _ in items], over) == ([1], False)


@pytest.mark.parametrize("wait_s", ["-1", "31", "inf", "nan", "x"])
def test_waits_are_bounded(client: TestClient, running: tuple[str, JobRun], wait_s: str) -> None:
    for path in (f"/v1/builds/{running[0]}/events/poll", f"/v1/builds/{running[0]}"):
        assert client.get(path, params={"wait_s": wait_s}).status_code == 422


def test_a_story_is_whole_and_in_order_however_often_its_followers_are_cut_off(
    app: FastAPI, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    n_steps = 60

    def cut_off_again_and_again(http: httpx.Client) -> Told:
        told: Told = []
        while not told or told[-1][1] != "status":
            told += stream(http, build_id, told[-1][0] if told else 0, cut=len(told) % 3 + 1)
        return told

    def taking_turns(http: httpx.Client) -> Told:
        told: Told = []
        while not told or told[-1][1] != "status":
            seen = told[-1][0] if told else 0
            told += stream(http, build_id, seen, cut=2)
            told += page(http, build_id, after=told[-1][0], wait_s=1)[0]
        return told

    with serving(app) as url, ThreadPoolExecutor() as pool, keyed(url) as http:
        followers = [
            pool.submit(follow, http)
            for follow in (cut_off_again_and_again, taking_turns, cut_off_again_and_again)
        ]
        tell(database, run, *range(n_steps))
        finish(database, run)
        stories = [follower.result() for follower in followers]
    assert [seq for seq, _, _ in stories[0]] == list(range(1, n_steps + 2))
    assert stories[1] == stories[2] == stories[0]


@contextmanager
def keyed(url: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    with httpx.Client(
        base_url=url, headers=headers, timeout=60, limits=httpx.Limits(max_connections=None)
    ) as http:
        yield http


def test_fifty_followers_read_the_events_fewer_times_than_there_are_followers(
    app: FastAPI, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    n_followers, n_steps = 50, 10
    reads: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "SELECT job_events" in statement:
            reads.append(statement)

    with (
        serving(app) as url,
        keyed(url) as http,
        ThreadPoolExecutor(n_followers) as pool,
    ):
        event.listen(database.engine, "before_cursor_execute", note)
        followers = [pool.submit(stream, http, build_id, 0) for _ in range(n_followers)]
        all_follow = threading.Event()
        while app.state.followers.count < n_followers:
            all_follow.wait(0.02)
        for step in range(n_steps):
            tell(database, run, step)
        finish(database, run)
        stories = [follower.result() for follower in followers]
        event.remove(database.engine, "before_cursor_execute", note)
    assert all(story == stories[0] for story in stories)
    assert len(stories[0]) == n_steps + 1
    assert 0 < len(reads) <= n_steps + 2  # a read per look that found something, at the most


def test_one_follower_too_many_is_told_when_to_come_back_and_is_taken_when_another_leaves(
    app: FastAPI, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    app.state.followers.most = 1
    with serving(app) as url, keyed(url) as http, ThreadPoolExecutor() as pool:
        first = pool.submit(stream, http, build_id, 0)
        waiting = threading.Event()
        while app.state.followers.count < 1:
            waiting.wait(0.02)
        refused = http.get(f"/v1/builds/{build_id}/events/poll")
        assert (refused.status_code, refused.json()["code"]) == (503, "too-many-followers")
        assert int(refused.headers["retry-after"]) > 0
        assert http.get(f"/v1/builds/{build_id}").json()["status"] == "running"
        finish(database, run)
        first.result()
        while app.state.followers.count:
            waiting.wait(0.02)
        assert page(http, build_id, after=0)[2] is True


def test_a_stream_outlives_a_database_that_is_away_for_a_moment(
    app: FastAPI, database: Database, running: tuple[str, JobRun], caplog: pytest.LogCaptureFixture
) -> None:
    build_id, run = running
    with serving(app) as url, keyed(url) as http, ThreadPoolExecutor() as pool:
        following = pool.submit(stream, http, build_id, 0)
        tell(database, run, 1)
        waiting = threading.Event()
        while not app.state.followers._present:  # counted, one has not yet looked a first time
            waiting.wait(0.02)
        rename(database, "job_events", "away")
        while "cannot look" not in caplog.text:
            waiting.wait(0.02)
        rename(database, "away", "job_events")
        tell(database, run, 2)
        finish(database, run)
        assert [seq for seq, _, _ in following.result()] == [1, 2, 3]


def rename(database: Database, table: str, to: str) -> None:
    with database.write() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO {to}"))


def test_a_builds_record_waits_for_its_end_if_asked(
    client: TestClient, database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    path = f"/v1/builds/{build_id}"
    assert client.get(path, params={"wait_s": 0.1}).json()["status"] == "running"
    worker = threading.Timer(POLL_S, finish, (database, run))
    worker.start()
    assert client.get(path, params={"wait_s": 30}).json()["status"] == "succeeded"
    worker.join()


def test_a_models_record_waits_for_its_inspection_if_asked(
    client: TestClient, database: Database, add_model: Callable[..., ModelRow]
) -> None:
    model = add_model(ModelStatus.INSPECTING)
    with database.write() as session:
        job = jobs.create(session, JobKind.INSPECT, model.id)
        run = jobs.claim(session, job.id, holder="run_a", lease_s=60)
    assert run is not None

    def inspect() -> None:
        with database.write() as session:
            accept_model(
                session, model.id, object_key="k", canonical_sha256="0", source_format="f",
                n_parameters=1,
            )  # fmt: skip
            jobs.finish(session, run, JobStatus.SUCCEEDED)

    worker = threading.Timer(POLL_S, inspect)
    worker.start()
    record = client.get(f"/v1/models/{model.id}", params={"wait_s": 30})
    worker.join()
    assert record.json()["status"] == "ready"


@pytest.mark.parametrize("path", ["/v1/builds/bld_x", "/v1/models/mdl_x"])
def test_nobody_waits_for_what_is_not_there(client: TestClient, path: str) -> None:
    assert client.get(path, params={"wait_s": 30}).status_code == 404


def revoke(database: Database, organisation_id: str, key_id: str) -> None:
    with database.write() as session:
        revoke_key(session, organisation_id, key_id)


def expire(database: Database, organisation_id: str, key_id: str) -> None:
    with database.write() as session:
        session.get_one(ApiKeyRow, key_id).expires_at = utc_now()


def rotate_away(database: Database, organisation_id: str, key_id: str) -> None:
    with database.write() as session:
        session.get_one(ApiKeyRow, key_id).secret_sha256 = "0" * 64


def take_the_role(database: Database, organisation_id: str, key_id: str) -> None:
    with database.write() as session:
        session.execute(
            update(PoolMemberRow)
            .where(PoolMemberRow.organisation_id == organisation_id)
            .values(role=Role.CONSUMER)
        )


ENDINGS = {"revoked": revoke, "expired": expire, "rotated": rotate_away, "role": take_the_role}


@pytest.mark.parametrize("how", ENDINGS)
def test_what_follows_by_a_key_hears_nothing_that_happens_after_its_end(
    app: FastAPI,
    database: Database,
    pool_row: PoolRow,
    running: tuple[str, JobRun],
    how: str,
) -> None:
    build_id, run = running
    with database.write() as session:
        row, secret = create_key(
            session, pool_row.organisation_id, name="k", scopes=[Scope.BUILDS_READ]
        )
    tell(database, run, 1)
    headers = {"Authorization": f"Bearer {secret}"}
    with (
        serving(app) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60) as http,
        ThreadPoolExecutor() as pool,
    ):
        following = pool.submit(stream, http, build_id, 0)
        polling = pool.submit(
            http.get, f"/v1/builds/{build_id}/events/poll", params={"after": 1, "wait_s": 30}
        )
        waiting = pool.submit(http.get, f"/v1/builds/{build_id}", params={"wait_s": 30})
        until = threading.Event()
        while app.state.followers.count < 3:
            until.wait(0.02)
        ENDINGS[how](database, pool_row.organisation_id, row.id)
        tell(database, run, 2)
        assert [seq for seq, _, _ in following.result()] == [1]
        refused = 403 if how == "role" else 401
        assert (polling.result().status_code, waiting.result().status_code) == (refused, refused)
    assert app.state.followers.count == 0
