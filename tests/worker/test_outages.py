"""What a job stands on may fail for hours: the job waits, says why, and is not ended by it."""

import errno
import sqlite3
from collections.abc import Callable

import pytest
from factories import (
    build_now,
    claim_next,
    model_now,
    order_build,
    small_checkpoint,
    small_manifest,
    upload,
)
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError, OperationalError

from pool.database.tables import JobRow
from pool.domain import JobKind, JobStatus, ModelStatus
from pool.errors import ObjectMissing, StorageFull, StorageUnavailable
from worker.context import DiskFull, JobContext, TryAgain
from worker.outages import outage_of
from worker.run_job import _run as run_job

MakeModels = Callable[[int], list[str]]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StorageUnavailable("x"), "The object store did not answer"),
        (StorageFull("x"), "no room"),
        (DiskFull("x"), "no room"),
        (OSError(errno.ENOSPC, "x"), "no room"),
        (OperationalError("x", {}, sqlite3.OperationalError()), "The database did not answer"),
        (ObjectMissing("x"), None),
        (TryAgain("x"), None),
        (OSError(errno.EIO, "x"), None),
        (IntegrityError("x", {}, sqlite3.IntegrityError()), None),
    ],
)
def test_only_what_passes_by_itself_is_an_outage(error: Exception, said: str | None) -> None:
    told = outage_of(error)
    assert told is None if said is None else said in (told or "")


def failing(context: JobContext, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fetch(*_: object) -> None:
        raise error

    monkeypatch.setattr(context.store, "fetch", fetch)


def attempts_so_far(context: JobContext, count: int) -> None:
    with context.database.write() as session:
        session.execute(
            update(JobRow).where(JobRow.status == JobStatus.QUEUED).values(attempt=count)
        )


def test_an_inspection_outlives_an_outage_however_often_it_was_tried(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = upload(context.database, context.store, small_checkpoint(), small_manifest())
    attempts_so_far(context, context.settings.max_attempts + 10)
    failing(context, monkeypatch, StorageUnavailable("away"))
    assert not run_job(context, claim_next(context.database, JobKind.INSPECT))
    assert model_now(context.database, model.id).status == ModelStatus.INSPECTING
    with context.database.write() as session:
        job = session.query(JobRow).one()
        assert (job.status, job.holder) == (JobStatus.QUEUED, None)
        session.execute(update(JobRow).values(not_before=None))
    monkeypatch.undo()
    assert run_job(context, claim_next(context.database, JobKind.INSPECT))
    assert model_now(context.database, model.id).status == ModelStatus.READY


def test_a_build_whose_weights_are_missing_is_tried_a_few_times_and_then_fails_with_the_reason(
    context: JobContext, ready_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_models(2)
    order = order_build(context.database)
    failing(context, monkeypatch, ObjectMissing("no such object"))
    attempts_so_far(context, context.settings.max_attempts - 1)
    assert not run_job(context, claim_next(context.database, JobKind.BUILD))
    job = build_now(context.database, order.id).job
    assert (job.status, job.error_code) == (JobStatus.FAILED, "attempts-failed")
    assert "ObjectMissing" in (job.error or "")


def test_a_defect_in_a_run_that_lost_its_lease_changes_nothing(
    context: JobContext, ready_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_models(2)
    order = order_build(context.database)
    run = claim_next(context.database, JobKind.BUILD)
    with context.database.write() as session:
        session.execute(update(JobRow).values(holder="run_other"))
    failing(context, monkeypatch, ValueError("said by a client"))
    assert run_job(context, run)
    assert build_now(context.database, order.id).job.holder == "run_other"
