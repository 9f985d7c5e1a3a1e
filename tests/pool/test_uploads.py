"""Resumable uploads as records: completed once by many at once, expired, swept, never orphaned."""

import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from pool.database import repository
from pool.database.session import Database
from pool.database.tables import JobRow, ModelRow, OrganisationRow
from pool.database.upload_tables import UploadRow
from pool.domain import JobKind, Manifest, ModelStatus, UploadStatus, utc_now
from pool.errors import RoleRequired
from pool.storage.directory_parts import DirectoryParts
from pool.storage.parts import MIN_PART_BYTES, plan_parts
from pool.storage.store import ObjectStore, quarantine_key
from pool.usecases import uploads
from pool.usecases.assemble import settle_upload
from pool.usecases.orphans import delete_orphans
from pool.usecases.sweep import sweep, sweep_leftovers, sweep_limits
from pool.usecases.sweep_uploads import sweep_parts

Begin = Callable[..., UploadRow]
SHA256 = "a" * 64


@pytest.fixture
def parts(objects: Path) -> DirectoryParts:
    """Beside the object store."""
    return DirectoryParts(objects)


@pytest.fixture
def begin(
    database: Database, parts: DirectoryParts, organisation_id: str, manifest: Manifest
) -> Begin:
    """Announce four bytes, and send them."""

    def announce(*, expires_s: float = 3600, whole: bool = True) -> UploadRow:
        row = uploads.open_upload(
            database,
            parts,
            organisation_id,
            uploads.Announced(manifest=manifest, plan=plan_parts(4, MIN_PART_BYTES), sha256=None),
            expires_s=expires_s,
            on_new=lambda *_: None,
        )
        if whole:
            writer = parts.writer(row.token, 1)
            writer.write(b"data")
            writer.commit()
        return row

    return announce


def status_of(database: Database, row: UploadRow) -> str:
    with database.read() as session:
        return session.get_one(UploadRow, row.id).status


def set_upload(database: Database, row: UploadRow, **values: object) -> None:
    with database.write() as session:
        session.execute(update(UploadRow).where(UploadRow.id == row.id).values(**values))


def count(database: Database, table: type[ModelRow] | type[JobRow] | type[UploadRow]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def complete(
    database: Database, store: ObjectStore, parts: DirectoryParts, row: UploadRow
) -> UploadRow:
    return uploads.complete_upload(
        database, store, parts, row.organisation_id, row.id, on_answer=lambda *_: None
    )


def test_many_clients_that_complete_an_upload_at_once_queue_one_assembly(
    database: Database, store: ObjectStore, parts: DirectoryParts, begin: Begin
) -> None:
    row, n_threads = begin(), 8
    start = threading.Barrier(n_threads)

    def ask(_: int) -> tuple[str, str]:
        start.wait()
        answer = complete(database, store, parts, row)
        return answer.id, answer.status

    with ThreadPoolExecutor(n_threads) as threads:
        answers = set(threads.map(ask, range(n_threads)))
    assert answers == {(row.id, UploadStatus.ASSEMBLING)}
    with database.read() as session:
        assert session.scalars(select(JobRow.kind)).all() == [JobKind.ASSEMBLE]


def test_settling_makes_one_model_with_one_inspection_even_if_it_is_done_twice(
    database: Database, store: ObjectStore, parts: DirectoryParts, begin: Begin
) -> None:
    row = begin()
    complete(database, store, parts, row)
    for _ in range(2):
        with database.write() as session:
            settle_upload(session, row.id, sha256=SHA256, size=4)
    with database.read() as session:
        model = session.scalars(select(ModelRow)).one()
        inspections = session.scalars(select(JobRow).where(JobRow.subject_id == model.id)).all()
    assert (model.id, model.status) == (row.reserved_id, ModelStatus.RECEIVED)
    assert (model.name, model.class_names, model.mean) == ("ward 3", ["normal", "effusion"], [0.5])
    assert [job.kind for job in inspections] == [JobKind.INSPECT]
    assert status_of(database, row) == UploadStatus.COMPLETED


@pytest.mark.parametrize("size", [3, 5])
def test_bytes_of_another_size_than_announced_fail(
    database: Database, store: ObjectStore, parts: DirectoryParts, begin: Begin, size: int
) -> None:
    row = begin()
    complete(database, store, parts, row)
    with database.write() as session:
        settle_upload(session, row.id, sha256=SHA256, size=size)
    assert status_of(database, row) == UploadStatus.FAILED
    assert count(database, ModelRow) == 0


def test_the_sweep_expires_what_nobody_completed_and_deletes_its_parts_alone(
    database: Database, store: ObjectStore, parts: DirectoryParts, begin: Begin
) -> None:
    stale, fresh, at_work = begin(expires_s=-1), begin(), begin()
    complete(database, store, parts, at_work)
    set_upload(database, at_work, expires_at=utc_now() - timedelta(days=1))
    with database.write() as session:
        sweep(session, resend_after_s=60, max_attempts=5)
    assert [status_of(database, row) for row in (stale, fresh, at_work)] == [
        UploadStatus.EXPIRED,
        UploadStatus.OPEN,
        UploadStatus.ASSEMBLING,
    ]
    assert sweep_parts(database, parts) == 1
    assert {each.token for each in parts.unfinished()} == {fresh.token, at_work.token}
    assert sweep_parts(database, parts) == 0


@pytest.mark.parametrize("status", ["completed", "failed", "aborted", "expired"])
def test_the_sweep_deletes_what_an_ended_upload_left_when_its_process_died(
    database: Database,
    store: ObjectStore,
    parts: DirectoryParts,
    begin: Begin,
    status: str,
) -> None:
    row = begin()
    key = quarantine_key(row.reserved_id)
    parts.assemble(key, row.token, parts.received(key, row.token))
    assert (sweep_parts(database, parts), sweep_leftovers(database, store, state_kept_s=0)) == (
        0,
        0,
    )
    set_upload(database, row, status=status, model_id="mdl_of_the_same_bytes")
    assert (sweep_parts(database, parts), sweep_leftovers(database, store, state_kept_s=0)) == (
        1,
        1,
    )
    assert (list(store.keys("")), list(parts.unfinished())) == ([], [])


def test_parts_that_no_record_knows_are_deleted_after_a_day(
    database: Database, parts: DirectoryParts, objects: Path
) -> None:
    """Their API died before it wrote the record, or they came after the upload was given up."""
    token = parts.begin("quarantine/x")
    writer = parts.writer(token, 1)
    writer.write(b"data")
    writer.commit()
    assert sweep_parts(database, parts) == 0
    a_day_ago = (utc_now() - timedelta(hours=25)).timestamp()
    os.utime(objects / ".parts" / token, (a_day_ago, a_day_ago))
    assert sweep_parts(database, parts) == 1
    assert list(parts.unfinished()) == []


def test_a_one_shot_upload_under_way_is_left_alone(
    database: Database, store: ObjectStore, parts: DirectoryParts
) -> None:
    store.put(quarantine_key("mdl_x"), io.BytesIO(b"data"), 4)
    assert (sweep_parts(database, parts), sweep_leftovers(database, store, state_kept_s=0)) == (
        0,
        0,
    )


def test_joined_bytes_of_an_upload_under_way_are_no_orphans_however_old(
    database: Database, store: ObjectStore, parts: DirectoryParts, begin: Begin, objects: Path
) -> None:
    row = begin()
    key = quarantine_key(row.reserved_id)
    parts.assemble(key, row.token, parts.received(key, row.token))
    hours_ago = (utc_now() - timedelta(hours=3)).timestamp()
    os.utime(objects / key, (hours_ago, hours_ago))
    assert delete_orphans(database, store) == 0
    assert list(store.keys("")) == [key]
    set_upload(database, row, status=UploadStatus.ABORTED)
    assert delete_orphans(database, store) == 1


def test_records_of_ended_uploads_are_kept_for_a_month(database: Database, begin: Begin) -> None:
    old, open_still, recent = (begin(whole=False) for _ in range(3))
    long_ago = utc_now() - timedelta(days=32)
    set_upload(database, old, status=UploadStatus.ABORTED, updated_at=long_ago)
    set_upload(database, open_still, updated_at=long_ago)
    set_upload(database, recent, status=UploadStatus.ABORTED)
    with database.write() as session:
        assert sweep_limits(session) == 1
    with database.read() as session:
        left = set(session.scalars(select(UploadRow.id)))
    assert left == {open_still.id, recent.id}


def test_an_upload_of_an_organisation_that_lost_its_role_becomes_no_model(
    database: Database,
    store: ObjectStore,
    parts: DirectoryParts,
    begin: Begin,
) -> None:
    row = begin()
    complete(database, store, parts, row)
    with database.write() as session:
        session.add(OrganisationRow(id="org_stranger", name="a stranger"))
        session.flush()
        session.execute(update(UploadRow).values(organisation_id="org_stranger"))
    with database.write() as session:
        settle_upload(session, row.id, sha256=SHA256, size=4)
    with database.read() as session:
        ended = session.get_one(UploadRow, row.id)
    assert (ended.status, ended.reason_code) == (UploadStatus.FAILED, "role-required")
    assert count(database, ModelRow) == 0


def test_a_record_that_cannot_be_written_leaves_no_parts_behind(
    database: Database,
    parts: DirectoryParts,
    organisation_id: str,
    manifest: Manifest,
) -> None:
    def refuse(*_: object) -> None:
        raise RoleRequired("not any more")

    with pytest.raises(RoleRequired):
        uploads.open_upload(
            database,
            parts,
            organisation_id,
            uploads.Announced(manifest=manifest, plan=plan_parts(4), sha256=None),
            expires_s=60,
            on_new=refuse,
        )
    assert count(database, UploadRow) == 0
    assert list(parts.unfinished()) == []


def test_nobody_learns_from_a_checksum_that_another_member_has_the_bytes(
    database: Database,
    parts: DirectoryParts,
    organisation_id: str,
    manifest: Manifest,
    add_model: Callable[..., ModelRow],
) -> None:
    """Who sends the bytes hears `contributed-already`; who knows only their checksum, nothing."""
    with database.write() as session:
        session.add(OrganisationRow(id="org_other", name="another member"))
    add_model(organisation_id="org_other", sha256=SHA256)
    row = uploads.open_upload(
        database,
        parts,
        organisation_id,
        uploads.Announced(manifest=manifest, plan=plan_parts(4), sha256=SHA256),
        expires_s=60,
        on_new=lambda *_: None,
    )
    assert (row.status, row.model_id) == (UploadStatus.OPEN, None)
    with database.read() as session:
        assert repository.find_upload(session, organisation_id, row.id).status == "open"
