"""What dead workers and lost messages left behind is found again."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import JobRow, ModelRow
from pool.domain import JobKind, JobStatus, ModelStatus, utc_now
from pool.storage.directory import DirectoryStore
from pool.storage.store import build_state_key, model_key, quarantine_key
from pool.usecases.sweep import Swept, sweep, sweep_leftovers

Sent = list[tuple[str, str]]


def swept(database: Database, *, max_attempts: int = 5) -> Swept:
    with database.write() as session:
        return sweep(session, resend_after_s=60.0, max_attempts=max_attempts)


def new_job(database: Database, kind: JobKind, subject_id: str, **values: Any) -> str:
    with database.write() as session:
        job = jobs.create(session, kind, subject_id)
        if values:
            session.execute(update(JobRow).where(JobRow.id == job.id).values(**values))
    return job.id


def running(database: Database, kind: JobKind, subject_id: str, *, lease_s: float) -> str:
    job_id = new_job(database, kind, subject_id)
    with database.write() as session:
        assert jobs.claim(session, job_id, holder="run_a", lease_s=lease_s)
    return job_id


def status_of(database: Database, job_id: str) -> JobStatus:
    with database.read() as session:
        return session.get_one(JobRow, job_id).status


def test_a_sweep_queues_again_what_lost_its_lease_and_leaves_what_lives(
    database: Database, sent: Sent
) -> None:
    dead = running(database, JobKind.BUILD, "bld_1", lease_s=-1)
    alive = running(database, JobKind.BUILD, "bld_2", lease_s=30)
    sent.clear()
    assert swept(database) == Swept(expired=1, resent=0)
    assert status_of(database, dead) == JobStatus.QUEUED
    assert status_of(database, alive) == JobStatus.RUNNING
    assert sent == [(dead, JobKind.BUILD)]
    assert swept(database) == Swept(expired=0, resent=0)


def test_a_model_whose_inspection_dies_for_good_is_rejected_with_advice(
    database: Database, add_model: Callable[..., ModelRow]
) -> None:
    model = add_model(ModelStatus.INSPECTING, object_key="quarantine/x")
    job_id = running(database, JobKind.INSPECT, model.id, lease_s=-1)
    swept(database, max_attempts=1)
    with database.read() as session:
        row = session.get_one(ModelRow, model.id)
    assert status_of(database, job_id) == JobStatus.FAILED
    assert (row.status, row.reason_code) == (ModelStatus.REJECTED, "inspection-failed")
    assert row.object_key is None
    assert row.reason
    assert row.recipe


def test_a_model_accepted_before_its_inspector_died_stays_ready(
    database: Database, add_model: Callable[..., ModelRow]
) -> None:
    model = add_model(ModelStatus.READY)
    running(database, JobKind.INSPECT, model.id, lease_s=-1)
    swept(database, max_attempts=1)
    with database.read() as session:
        assert session.get_one(ModelRow, model.id).status == ModelStatus.READY


@pytest.mark.parametrize(
    ("created_s_ago", "sent_s_ago", "is_sent_again"),
    [
        (59, 59, False),  # not yet late
        (61, 61, True),  # its first message may be lost
        (121, 61, True),  # waited 60 s before, and as long again
        (131, 61, False),  # waited 70 s before, so it may take 70 s more
        (1000, 501, True),
        (1000, 499, False),
        (10, None, True),  # died, waited out its back-off, is due
    ],
)
def test_each_further_message_waits_twice_as_long(
    database: Database,
    sent: Sent,
    created_s_ago: float,
    sent_s_ago: float | None,
    is_sent_again: bool,
) -> None:
    now = utc_now()
    job_id = new_job(
        database,
        JobKind.BUILD,
        "bld_1",
        created_at=now - timedelta(seconds=created_s_ago),
        sent_at=None if sent_s_ago is None else now - timedelta(seconds=sent_s_ago),
    )
    sent.clear()
    found = swept(database)
    assert sent == ([(job_id, JobKind.BUILD)] if is_sent_again else [])
    assert found.resent == len(sent)


def test_a_message_just_sent_again_is_not_lost_a_moment_later(
    database: Database, sent: Sent
) -> None:
    now = utc_now()
    new_job(
        database,
        JobKind.BUILD,
        "bld_1",
        created_at=now - timedelta(hours=1),
        sent_at=now - timedelta(hours=1),
    )
    sent.clear()
    assert [swept(database).resent for _ in range(3)] == [1, 0, 0]
    assert len(sent) == 1


def test_a_job_that_must_wait_is_not_sent(database: Database, sent: Sent) -> None:
    now = utc_now()
    new_job(
        database,
        JobKind.BUILD,
        "bld_1",
        sent_at=None,
        not_before=now + timedelta(minutes=1),
    )
    sent.clear()
    assert swept(database).resent == 0
    assert sent == []


def put(store: DirectoryStore, key: str) -> str:
    store.put(key, io.BytesIO(b"bytes"), 5)
    return key


def test_originals_go_when_their_inspection_is_over_and_stay_until_then(
    database: Database, store: DirectoryStore, add_model: Callable[..., ModelRow]
) -> None:
    waiting, looked_at, ready, rejected = (
        add_model(status)
        for status in (
            ModelStatus.RECEIVED,
            ModelStatus.INSPECTING,
            ModelStatus.READY,
            ModelStatus.REJECTED,
        )
    )
    for model in (waiting, looked_at, ready, rejected):
        put(store, quarantine_key(model.id))
    put(store, model_key(ready.id))
    under_way = put(store, quarantine_key("mdl_without_a_record_yet"))

    assert sweep_leftovers(database, store, state_kept_s=0) == 2

    kept = {quarantine_key(waiting.id), quarantine_key(looked_at.id), model_key(ready.id)}
    assert set(store.keys("")) == kept | {under_way}


def test_a_build_state_goes_when_its_build_has_ended(
    database: Database, store: DirectoryStore
) -> None:
    running(database, JobKind.BUILD, "bld_running", lease_s=30)
    new_job(database, JobKind.BUILD, "bld_ended", status=JobStatus.CANCELED)
    kept = put(store, build_state_key("bld_running"))
    put(store, build_state_key("bld_ended"))
    assert sweep_leftovers(database, store, state_kept_s=0) == 1
    assert list(store.keys("")) == [kept]
