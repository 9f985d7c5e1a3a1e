"""The assembly of an upload: done once, whatever dies on the way, on both stores."""

import hashlib
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from factories import (
    claim_next,
    domain_manifest,
    organisation_of,
    small_checkpoint,
    small_manifest,
    upload,
)
from sqlalchemy import func, select

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import Base, JobRow, ModelRow
from pool.database.upload_tables import UploadRow
from pool.domain import JobKind, JobStatus, ModelStatus, UploadStatus
from pool.errors import LeaseLost
from pool.settings import Settings
from pool.storage.parts import MIN_PART_BYTES, PartStore, open_parts, plan_parts
from pool.storage.store import model_key, open_store, quarantine_key
from pool.usecases import uploads
from pool.usecases.sweep import sweep, sweep_leftovers
from pool.usecases.sweep_uploads import sweep_parts
from worker.context import JobContext
from worker.jobs import assemble
from worker.jobs.assemble import assemble_upload
from worker.jobs.inspect import inspect_model

DATA = secrets.token_bytes(MIN_PART_BYTES + 4321)
http = urllib3.PoolManager()


@pytest.fixture(params=["directory", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An embedded deployment, and the same with its objects in a bucket."""
    if request.param == "directory":
        return Settings(var=tmp_path / "var")
    from tests.s3_server import s3_settings

    endpoint = request.getfixturevalue("s3_endpoint")
    return s3_settings(endpoint, bucket=f"bucket-{secrets.token_hex(6)}", var=tmp_path / "var")


@pytest.fixture
def parts(settings: Settings) -> PartStore:
    """Where the parts go."""
    return open_parts(settings)


def sent(context: JobContext, parts: PartStore, data: bytes = DATA, **said: Any) -> UploadRow:
    """An upload with all its parts, completed by its client."""
    row = uploads.open_upload(
        context.database,
        parts,
        organisation_of(context.database),
        uploads.Announced(
            manifest=domain_manifest(small_manifest()),
            plan=plan_parts(len(data), MIN_PART_BYTES),
            sha256=said.get("sha256"),
        ),
        expires_s=3600,
        on_new=lambda *_: None,
    )
    send_parts(parts, row, data)
    complete(context, parts, row)
    return row


def send_parts(parts: PartStore, row: UploadRow, data: bytes) -> None:
    plan = uploads.plan_of(row)
    for number in range(1, plan.n_parts + 1):
        size, start = plan.length(number), plan.offset(number)
        body = data[start : start + size]
        if parts.presigns:
            key = quarantine_key(row.reserved_id)
            url = parts.url(key, row.token, number, size=size, expires_s=60)
            assert http.request("PUT", url, body=body).status == 200
        else:
            writer = parts.writer(row.token, number)
            writer.write(body)
            writer.commit()


def complete(context: JobContext, parts: PartStore, row: UploadRow) -> None:
    uploads.complete_upload(
        context.database,
        context.store,
        parts,
        row.organisation_id,
        row.id,
        on_answer=lambda *_: None,
    )


def now(context: JobContext, row: UploadRow) -> UploadRow:
    with context.database.read() as session:
        return session.get_one(UploadRow, row.id)


def count(database: Database, table: type[Base]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def left(context: JobContext, parts: PartStore) -> tuple[set[str], int]:
    return set(context.store.keys("")), len(list(parts.unfinished()))


def killed(context: JobContext, work: Callable[[JobContext], None]) -> None:
    """Do it in a process of its own that kills itself somewhere on the way."""
    pid = os.fork()
    if pid == 0:
        try:
            database = Database(context.settings.database)
            store = open_store(context.settings)
            work(JobContext(settings=context.settings, database=database, store=store))
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "it should have died on the way"


def die_when_called(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


DEATHS: dict[str, tuple[object, str, object]] = {
    "before anything": (assemble, "_join", die_when_called),
    "while joining": (os, "fsync", die_when_called),
    "while reading": (assemble, "_measure", die_when_called),
    "before the commit": (jobs, "finish", die_when_called),
    "after the commit": (assemble, "_clean_up", die_when_called),
}


@pytest.mark.parametrize("when", DEATHS)
def test_an_assembly_killed_anywhere_ends_in_one_model_and_leaves_nothing_else(
    context: JobContext, parts: PartStore, when: str
) -> None:
    if when == "while joining" and parts.presigns:
        pytest.skip("the store joins, not we")
    row = sent(context, parts)
    run = claim_next(context.database, JobKind.ASSEMBLE)

    def work(copy: JobContext) -> None:
        target, name, replacement = DEATHS[when]
        setattr(target, name, replacement)
        assemble_upload(copy, run)

    killed(context, work)
    with context.database.write() as session:
        for job in jobs.held_by(session, run.holder):
            jobs.abandon(session, job, max_attempts=5, why="It died")
    if when != "after the commit":
        assemble_upload(context, claim_next(context.database, JobKind.ASSEMBLE))
    sweep_parts(context.database, parts)
    sweep_leftovers(context.database, context.store, state_kept_s=0)

    ended = now(context, row)
    assert (ended.status, ended.model_id) == (UploadStatus.COMPLETED, row.reserved_id)
    assert left(context, parts) == ({quarantine_key(row.reserved_id)}, 0)
    assert (count(context.database, ModelRow), count(context.database, JobRow)) == (1, 2)
    stored = b"".join(context.store.blocks(quarantine_key(row.reserved_id)))
    assert stored == DATA


def test_an_assembly_that_dies_again_and_again_can_be_completed_again(
    context: JobContext, parts: PartStore
) -> None:
    row = sent(context, parts)
    job_id = _job_of(context.database, row.id)
    with context.database.write() as session:
        assert jobs.claim(session, job_id, holder="run_a", lease_s=-1)
    with context.database.write() as session:
        sweep(session, resend_after_s=60, max_attempts=1)
    reopened = now(context, row)
    assert (reopened.status, reopened.reason_code) == (UploadStatus.OPEN, "assembly-failed")
    assert "omplete" in (reopened.reason or "")

    complete(context, parts, row)
    assemble_upload(context, claim_next(context.database, JobKind.ASSEMBLE))
    ended = now(context, row)
    assert (ended.status, ended.reason) == (UploadStatus.COMPLETED, None)


def _job_of(database: Database, subject_id: str) -> str:
    with database.read() as session:
        return session.scalars(select(JobRow.id).where(JobRow.subject_id == subject_id)).one()


def test_an_assembly_given_up_after_joining_can_be_completed_again_without_sending_a_byte(
    context: JobContext, parts: PartStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 has no parts any more then: the joined bytes are what is there."""
    row = sent(context, parts)
    run = claim_next(context.database, JobKind.ASSEMBLE)
    with monkeypatch.context() as broken:
        broken.setattr(assemble, "_measure", _fail)
        with pytest.raises(RuntimeError):
            assemble_upload(context, run)
    with context.database.write() as session:
        assemble.reopen_upload(session, row.id, "It broke.")
        jobs.finish(session, run, JobStatus.FAILED)

    complete(context, parts, row)
    assemble_upload(context, claim_next(context.database, JobKind.ASSEMBLE))
    assert now(context, row).status == UploadStatus.COMPLETED
    assert left(context, parts) == ({quarantine_key(row.reserved_id)}, 0)


def _fail(*_: object) -> None:
    raise RuntimeError("the machine broke")


def test_parts_that_the_store_lost_are_asked_for_again(
    context: JobContext, parts: PartStore
) -> None:
    row = sent(context, parts)
    parts.discard(quarantine_key(row.reserved_id), row.token)
    assemble_upload(context, claim_next(context.database, JobKind.ASSEMBLE))
    reopened = now(context, row)
    assert (reopened.status, reopened.reason_code) == (UploadStatus.OPEN, "assembly-failed")
    assert "send them again" in (reopened.reason or "")
    assert count(context.database, ModelRow) == 0


def test_an_upload_given_up_during_its_assembly_becomes_no_model_and_leaves_nothing(
    context: JobContext, parts: PartStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = sent(context, parts)
    measure = assemble._measure

    def give_up_meanwhile(*args: Any) -> Any:
        measured = measure(*args)
        uploads.abort_upload(context.database, parts, row.organisation_id, row.id)
        return measured

    monkeypatch.setattr(assemble, "_measure", give_up_meanwhile)
    assemble_upload(context, claim_next(context.database, JobKind.ASSEMBLE))
    assert now(context, row).status == UploadStatus.ABORTED
    assert count(context.database, ModelRow) == 0
    assert left(context, parts) == (set(), 0)


def test_a_run_that_lost_its_lease_makes_no_model(context: JobContext, parts: PartStore) -> None:
    row = sent(context, parts)
    slow = claim_next(context.database, JobKind.ASSEMBLE)
    with context.database.write() as session:
        (job,) = jobs.held_by(session, slow.holder)
        jobs.abandon(session, job, max_attempts=5, why="It seemed dead")
    with pytest.raises(LeaseLost):
        assemble_upload(context, slow)
    assert (now(context, row).status, count(context.database, ModelRow)) == (
        UploadStatus.ASSEMBLING,
        0,
    )
    assemble_upload(context, claim_next(context.database, JobKind.ASSEMBLE))
    assert count(context.database, ModelRow) == 1


def test_the_same_bytes_that_become_a_model_meanwhile_are_that_model(
    context: JobContext, parts: PartStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unique index decides between the question and the insert."""
    from pool.database import repository

    row = sent(context, parts)
    find, first = repository.find_live_model_by_bytes, []

    def nobody_yet(session: Any, pool_id: str, sha256: str) -> Any:
        if first:
            return find(session, pool_id, sha256)
        first.append(True)
        return None

    known = upload(context.database, context.store, DATA, small_manifest())
    monkeypatch.setattr(repository, "find_live_model_by_bytes", nobody_yet)
    assemble_upload(context, claim_next(context.database, JobKind.ASSEMBLE))
    ended = now(context, row)
    assert (ended.status, ended.model_id) == (UploadStatus.COMPLETED, known.id)
    assert left(context, parts) == ({quarantine_key(known.id)}, 0)
    assert count(context.database, ModelRow) == 1


def test_a_checkpoint_sent_in_parts_passes_the_airlock_like_any_other(
    context: JobContext, parts: PartStore
) -> None:
    data = small_checkpoint()
    row = sent(context, parts, data, sha256=hashlib.sha256(data).hexdigest())
    assemble_upload(context, claim_next(context.database, JobKind.ASSEMBLE))
    inspect_model(context, claim_next(context.database, JobKind.INSPECT))
    with context.database.read() as session:
        model = session.get_one(ModelRow, row.reserved_id)
    assert (model.status, model.reason) == (ModelStatus.READY, None)
    assert left(context, parts) == ({model_key(model.id)}, 0)
