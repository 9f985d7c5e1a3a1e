"""An upload leaves bytes, a record and a job, or nothing at all."""

import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from sqlalchemy import func, select, update

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import JobRow, ModelRow
from pool.domain import JobKind, JobStatus, Manifest, ModelStatus
from pool.errors import (
    ChecksumMismatch,
    EmptyCheckpoint,
    ManifestConflict,
    PoolNotFound,
    StorageFull,
    StorageUnavailable,
)
from pool.storage.directory import DirectoryStore
from pool.storage.store import quarantine_key
from pool.usecases.pools import create_pool
from pool.usecases.upload import receive_model

BYTES = b"a checkpoint's bytes"
SHA256 = hashlib.sha256(BYTES).hexdigest()

Upload = Callable[..., tuple[ModelRow, bool]]


@pytest.fixture
def upload(
    database: Database, store: DirectoryStore, organisation_id: str, manifest: Manifest
) -> Upload:
    """Send bytes with a manifest."""

    def send(
        data: bytes = BYTES, said: Manifest = manifest, *, into: DirectoryStore = store
    ) -> tuple[ModelRow, bool]:
        return receive_model(
            database,
            into,
            organisation_id,
            said,
            stream=io.BytesIO(data),
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    return send


def count(database: Database, table: type[ModelRow] | type[JobRow]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def assert_nothing_kept(database: Database, store: DirectoryStore) -> None:
    assert (count(database, ModelRow), count(database, JobRow)) == (0, 0)
    assert list(store.keys("")) == []


def test_an_upload_keeps_the_bytes_the_record_and_an_inspection(
    database: Database,
    store: DirectoryStore,
    upload: Upload,
    job_of: Callable[[str], JobRow],
    sent: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    model, is_new = upload()
    assert is_new
    store.fetch(quarantine_key(model.id), tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == BYTES
    with database.read() as session:
        row = session.get_one(ModelRow, model.id)
    assert (row.status, row.sha256, row.size_bytes) == (ModelStatus.RECEIVED, SHA256, len(BYTES))
    assert row.object_key == quarantine_key(model.id)
    job = job_of(model.id)
    assert (job.kind, job.status) == (JobKind.INSPECT, JobStatus.QUEUED)
    assert sent == [(job.id, JobKind.INSPECT)]


def test_the_record_says_what_the_manifest_says(
    database: Database, upload: Upload, manifest: Manifest
) -> None:
    full = replace(
        manifest,
        domain="radiology",
        description="what it is",
        training_data_note="where from",
        dp_epsilon=3.5,
        sha256=SHA256.upper(),
    )
    model, _ = upload(said=full)
    with database.read() as session:
        row = session.get_one(ModelRow, model.id)
    for name in (
        *("name", "backbone", "image_size", "channels", "domain", "description"),
        *("training_data_note", "dp_epsilon"),
    ):
        assert getattr(row, name) == getattr(full, name)
    assert (row.class_names, row.mean, row.std) == (["normal", "effusion"], [0.5], [0.25])
    assert row.pool.name == "default"


def test_the_same_bytes_twice_are_one_model(
    database: Database, store: DirectoryStore, upload: Upload
) -> None:
    first, _ = upload()
    second, is_new = upload()
    assert (second.id, is_new) == (first.id, False)
    assert (count(database, ModelRow), count(database, JobRow)) == (1, 1)
    assert list(store.keys("")) == [quarantine_key(first.id)]


def test_the_same_bytes_sent_by_many_at_once_are_one_model(
    database: Database, store: DirectoryStore, upload: Upload
) -> None:
    n_threads = 8
    start = threading.Barrier(n_threads)

    def send(_number: int) -> tuple[str, bool]:
        start.wait()
        model, is_new = upload()
        return model.id, is_new

    with ThreadPoolExecutor(n_threads) as threads:
        answers = list(threads.map(send, range(n_threads)))

    assert len({model_id for model_id, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert (count(database, ModelRow), count(database, JobRow)) == (1, 1)
    assert list(store.keys("")) == [quarantine_key(answers[0][0])]


def test_another_pool_may_hold_the_same_bytes(
    database: Database, upload: Upload, manifest: Manifest, organisation_id: str
) -> None:
    with database.write() as session:
        create_pool(session, organisation_id, name="ward-3", description=None)
    first, _ = upload()
    second, is_new = upload(said=replace(manifest, pool="ward-3"))
    assert is_new
    assert second.id != first.id


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("backbone", "resnet12"),
        ("class_names", ("effusion", "normal")),
        ("image_size", 64),
        ("channels", 3),
        ("mean", (0.4,)),
        ("std", (0.3,)),
    ],
)
def test_the_same_bytes_with_another_meaning_are_refused_by_field(
    upload: Upload, manifest: Manifest, field: str, other: object
) -> None:
    model, _ = upload()
    with pytest.raises(ManifestConflict, match=f"{model.id}.*another .*{field}"):
        upload(said=replace(manifest, **{field: other}))


@pytest.mark.parametrize("field", ["name", "domain", "description", "training_data_note"])
def test_the_same_bytes_with_another_remark_are_the_same_model(
    upload: Upload, manifest: Manifest, field: str
) -> None:
    model, _ = upload()
    again, is_new = upload(said=replace(manifest, **{field: "another remark"}))
    assert (again.id, is_new) == (model.id, False)


@pytest.mark.parametrize("status", [ModelStatus.REJECTED, ModelStatus.WITHDRAWN])
def test_a_model_that_is_gone_may_be_uploaded_again(
    database: Database, upload: Upload, status: ModelStatus
) -> None:
    first, _ = upload()
    with database.write() as session:
        session.execute(update(ModelRow).values(status=status, object_key=None))
    second, is_new = upload()
    assert is_new
    assert second.id != first.id


def test_bytes_that_are_not_those_described_are_refused(
    database: Database, store: DirectoryStore, upload: Upload, manifest: Manifest
) -> None:
    with pytest.raises(ChecksumMismatch, match="f{64}.*" + SHA256):
        upload(said=replace(manifest, sha256="f" * 64))
    assert_nothing_kept(database, store)


def test_an_empty_checkpoint_is_refused(
    database: Database, store: DirectoryStore, upload: Upload
) -> None:
    with pytest.raises(EmptyCheckpoint):
        upload(b"")
    assert_nothing_kept(database, store)


def test_a_pool_that_is_not_there_is_refused_before_any_byte_is_stored(
    database: Database, store: DirectoryStore, upload: Upload, manifest: Manifest
) -> None:
    with pytest.raises(PoolNotFound, match="'nowhere'"):
        upload(said=replace(manifest, pool="nowhere"))
    assert_nothing_kept(database, store)


class FailingStore(DirectoryStore):
    """Stores, then says that it failed; can also fail to take back."""

    error: Exception = StorageFull("no room")
    deletes = True

    def put(self, key: str, stream: BinaryIO, size: int) -> None:
        super().put(key, stream, size)
        raise self.error

    def delete(self, key: str) -> None:
        if not self.deletes:
            raise StorageUnavailable("away")
        super().delete(key)


@pytest.mark.parametrize("error", [StorageFull("full"), StorageUnavailable("away"), OSError(5)])
def test_a_failing_store_leaves_no_record_and_no_object(
    database: Database, upload: Upload, objects: Path, error: Exception
) -> None:
    failing = FailingStore(objects)
    failing.error = error
    with pytest.raises(type(error)):
        upload(into=failing)
    assert_nothing_kept(database, failing)


def test_the_first_failure_is_told_even_if_cleaning_up_fails_too(
    upload: Upload, objects: Path
) -> None:
    failing = FailingStore(objects)
    failing.deletes = False
    with pytest.raises(StorageFull):
        upload(into=failing)


def test_a_failing_database_leaves_no_object(
    database: Database,
    store: DirectoryStore,
    upload: Upload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the database broke down after the record was added")

    monkeypatch.setattr(jobs, "create", broken)
    with pytest.raises(RuntimeError):
        upload()
    assert_nothing_kept(database, store)
