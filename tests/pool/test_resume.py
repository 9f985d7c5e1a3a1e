"""How long the saved state of a build that ended without a result stays, and for whom."""

import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import BuildRow, JobRow, ModelRow
from pool.domain import JobStatus, ModelStatus, utc_now
from pool.storage.directory import DirectoryStore
from pool.storage.store import build_state_key, build_validation_key
from pool.usecases.resume import note_saved, resume_build
from pool.usecases.sweep import sweep_leftovers

KEPT_S = 3600.0
Stopped = Callable[..., str]


@pytest.fixture
def stopped(
    database: Database,
    store: DirectoryStore,
    add_model: Callable[..., ModelRow],
    order_build: Callable[..., str],
) -> Stopped:
    """A build with a saved state that ended so long ago."""
    add_model()
    add_model()

    def make(status: JobStatus = JobStatus.CANCELED, *, ago_s: float = 60.0) -> str:
        build_id = order_build()
        store.put(build_state_key(build_id), io.BytesIO(b"state"), 5)
        with database.write() as session:
            note_saved(session, build_id)
            ended = {"status": status, "finished_at": utc_now() - timedelta(seconds=ago_s)}
            of_build = JobRow.subject_id == build_id
            session.execute(update(JobRow).where(of_build).values(**ended))
        return build_id

    return make


def sweep(database: Database, store: DirectoryStore) -> list[str]:
    sweep_leftovers(database, store, state_kept_s=KEPT_S)
    return list(store.keys("builds/"))


@pytest.mark.parametrize(
    ("status", "ago_s", "stays"),
    [
        (JobStatus.CANCELED, 60.0, True),
        (JobStatus.FAILED, 60.0, True),
        (JobStatus.CANCELED, KEPT_S + 60, False),
        (JobStatus.SUCCEEDED, 60.0, False),
        (JobStatus.QUEUED, 60.0, True),
    ],
)
def test_a_state_stays_for_a_while_where_it_may_be_resumed_from(
    database: Database,
    store: DirectoryStore,
    stopped: Stopped,
    status: JobStatus,
    ago_s: float,
    stays: bool,
) -> None:
    build_id = stopped(status, ago_s=ago_s)
    assert sweep(database, store) == ([build_state_key(build_id)] if stays else [])
    with database.read() as session:
        assert (session.get_one(BuildRow, build_id).saved_at is not None) == stays


def test_a_validation_set_does_not_stay_with_the_state(
    database: Database, store: DirectoryStore, stopped: Stopped
) -> None:
    build_id = stopped()
    store.put(build_validation_key(build_id), io.BytesIO(b"sealed"), 6)
    assert sweep(database, store) == [build_state_key(build_id)]


def test_a_state_that_learnt_from_a_withdrawn_model_goes_at_once(
    database: Database, store: DirectoryStore, stopped: Stopped
) -> None:
    stopped()
    with database.write() as session:
        session.execute(update(ModelRow).values(status=ModelStatus.WITHDRAWN))
    assert sweep(database, store) == []


def test_a_state_stays_while_a_build_that_was_resumed_from_it_is_under_way(
    database: Database, store: DirectoryStore, stopped: Stopped, organisation_id: str
) -> None:
    build_id = stopped(ago_s=KEPT_S - 60)
    with database.write() as session:
        heir = resume_build(session, store, organisation_id, build_id)
        long_ago = utc_now() - timedelta(seconds=KEPT_S + 60)
        of_build = JobRow.subject_id == build_id
        session.execute(update(JobRow).where(of_build).values(finished_at=long_ago))
    assert sweep(database, store) == [build_state_key(build_id)]
    with database.write() as session:
        assert jobs.cancel(session, heir.job_id)
    assert sweep(database, store) == []
