"""One contract for both object stores: a directory, and a real S3 server (rclone's)."""

import errno
import io
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from minio.error import S3Error

from pool.errors import ObjectMissing, StorageFull, StorageUnavailable
from pool.settings import Settings
from pool.storage.directory import DirectoryStore
from pool.storage.s3 import PART_BYTES, S3Store
from pool.storage.store import ObjectStore, open_store
from tests.s3_server import SECRET_KEY, s3_settings


@pytest.fixture(params=["directory", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind, opened as the server opens it."""
    if request.param == "directory":
        return open_store(Settings(var=tmp_path / "var"))
    endpoint = request.getfixturevalue("s3_endpoint")
    return open_store(s3_settings(endpoint, bucket=f"bucket-{secrets.token_hex(6)}"))


def put(store: ObjectStore, key: str, data: bytes) -> None:
    store.put(key, io.BytesIO(data), len(data))


@pytest.fixture
def fetched(tmp_path: Path) -> Callable[[ObjectStore, str], bytes]:
    """An object's bytes."""

    def fetch(store: ObjectStore, key: str) -> bytes:
        path = tmp_path / "fetched"
        store.fetch(key, path)
        return path.read_bytes()

    return fetch


Fetched = Callable[[ObjectStore, str], bytes]

# The contract.


@pytest.mark.parametrize(
    "size", [1, 5_000_000, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 12_345]
)
def test_an_object_comes_back_as_it_was_put(
    any_store: ObjectStore, fetched: Fetched, size: int
) -> None:
    data = secrets.token_bytes(size)
    put(any_store, "models/a.safetensors", data)
    assert fetched(any_store, "models/a.safetensors") == data


def test_an_overwritten_object_is_the_new_one_and_whole(
    any_store: ObjectStore, fetched: Fetched
) -> None:
    put(any_store, "models/a", b"the long old object")
    put(any_store, "models/a", b"new")
    assert fetched(any_store, "models/a") == b"new"


def test_a_missing_object_is_said_to_be_missing_and_leaves_no_file(
    any_store: ObjectStore, tmp_path: Path
) -> None:
    put(any_store, "models/another", b"x")
    with pytest.raises(ObjectMissing, match="models/a "):
        any_store.fetch("models/a", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_deleting_twice_is_no_error(any_store: ObjectStore, tmp_path: Path) -> None:
    put(any_store, "models/a", b"x")
    any_store.delete("models/a")
    any_store.delete("models/a")
    with pytest.raises(ObjectMissing):
        any_store.fetch("models/a", tmp_path / "fetched")


def test_keys_are_listed_by_prefix(any_store: ObjectStore) -> None:
    keys = ["builds/b1/state", "models/a", "models/b", "quarantine/a"]
    for key in keys:
        put(any_store, key, b"x")
    assert sorted(any_store.keys("")) == keys
    assert sorted(any_store.keys("models/")) == ["models/a", "models/b"]
    assert list(any_store.keys("builds/")) == ["builds/b1/state"]
    assert list(any_store.keys("nothing/")) == []


def test_a_store_that_nobody_wrote_to_is_empty_not_broken(
    any_store: ObjectStore, tmp_path: Path
) -> None:
    assert list(any_store.keys("quarantine/")) == []
    any_store.delete("quarantine/a")
    with pytest.raises(ObjectMissing):
        any_store.fetch("quarantine/a", tmp_path / "fetched")


def test_a_store_answers_its_ping_again_and_again(any_store: ObjectStore) -> None:
    any_store.ping()
    any_store.ping()


class BreakingStream(io.RawIOBase):
    """A client that goes away after some bytes."""

    def __init__(self, good_bytes: int) -> None:
        self._left = good_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._left <= 0:
            raise RuntimeError("the stream broke")
        given = min(self._left, size if size >= 0 else self._left)
        self._left -= given
        return bytes(given)


@pytest.mark.parametrize("good_bytes", [0, 1000, PART_BYTES + 1000])
def test_a_stream_that_breaks_leaves_nothing(
    any_store: ObjectStore, tmp_path: Path, good_bytes: int
) -> None:
    stream: BinaryIO = BreakingStream(good_bytes)  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="the stream broke"):
        any_store.put("models/a", stream, PART_BYTES * 2)
    assert list(any_store.keys("")) == []
    assert files_under(tmp_path) == []


@pytest.mark.parametrize("good_bytes", [1000, PART_BYTES + 1000])
def test_a_stream_that_is_short_leaves_what_was_there_before(
    any_store: ObjectStore, fetched: Fetched, good_bytes: int
) -> None:
    put(any_store, "models/a", b"before")
    with pytest.raises(StorageUnavailable):
        any_store.put("models/a", io.BytesIO(bytes(good_bytes)), PART_BYTES * 2)
    assert fetched(any_store, "models/a") == b"before"


def files_under(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


# The directory.


@pytest.mark.parametrize(
    "key", ["../outside", "models/../../outside", "/etc/passwd", "a//b", "./a", "a/..", ""]
)
def test_the_directory_store_refuses_keys_that_leave_it(store: DirectoryStore, key: str) -> None:
    with pytest.raises(ValueError, match="not an object key"):
        put(store, key, b"x")
    with pytest.raises(ValueError, match="not an object key"):
        store.delete(key)
    with pytest.raises(ValueError, match="not an object key"):
        store.fetch(key, Path("nowhere"))


def test_the_directory_store_is_closed_to_other_users(store: DirectoryStore, objects: Path) -> None:
    put(store, "models/a", b"x")
    assert [path.stat().st_mode & 0o077 for path in (objects, objects / "models")] == [0, 0]


@pytest.mark.parametrize("where", ["while writing", "while flushing"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_such_and_nothing_is_kept(
    store: DirectoryStore,
    objects: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    code: int,
) -> None:
    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    if where == "while writing":
        monkeypatch.setattr(shutil, "copyfileobj", full)
    else:
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        put(store, "models/a", b"x")
    monkeypatch.undo()
    assert files_under(objects) == []


def test_any_other_failure_of_the_disk_is_an_unavailable_store(
    store: DirectoryStore, objects: Path
) -> None:
    put(store, "models", b"a file where a directory is needed")
    with pytest.raises(StorageUnavailable) as refusal:
        put(store, "models/a", b"x")
    assert str(objects) not in refusal.value.message


def test_a_directory_that_is_gone_does_not_answer_its_ping(
    store: DirectoryStore, objects: Path
) -> None:
    shutil.rmtree(objects)
    with pytest.raises(StorageUnavailable):
        store.ping()


# The S3 store.


def every_call(store: ObjectStore, path: Path) -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: put(store, "models/a", b"x"),
        "fetch": lambda: store.fetch("models/a", path),
        "delete": lambda: store.delete("models/a"),
        "keys": lambda: list(store.keys("")),
        "ping": store.ping,
    }


CALLS = ["put", "fetch", "delete", "keys", "ping"]


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_away_is_an_unavailable_store(tmp_path: Path, call: str) -> None:
    store = open_store(s3_settings("127.0.0.1:1"))
    with pytest.raises(StorageUnavailable, match="does not answer"):
        every_call(store, tmp_path / "fetched")[call]()


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_secret_is_an_unavailable_store_and_is_not_told(
    s3_endpoint: str, tmp_path: Path, call: str
) -> None:
    secret = "not-the-secret-of-this-server"
    store = open_store(s3_settings(s3_endpoint, secret=secret))
    with pytest.raises(StorageUnavailable) as refusal:
        every_call(store, tmp_path / "fetched")[call]()
    assert secret not in refusal.value.message
    assert SECRET_KEY not in refusal.value.message


@pytest.mark.parametrize("code", ["XMinioStorageFull", "InsufficientCapacity", "QuotaExceeded"])
def test_a_full_server_is_told_as_such(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    store = open_store(s3_settings(s3_endpoint))
    assert isinstance(store, S3Store)

    def full(*_: object, **__: object) -> None:
        raise S3Error(None, code, "no room", None, None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(store._client, "put_object", full)
    with pytest.raises(StorageFull):
        put(store, "models/a", b"x")


def test_keys_of_some_age_are_listed_by_the_stores_own_clock(any_store: ObjectStore) -> None:
    put(any_store, "quarantine/a", b"x")
    assert list(any_store.older("quarantine/", 3600)) == []
    assert list(any_store.older("quarantine/", 0)) == ["quarantine/a"]
    assert list(any_store.older("models/", 0)) == []
