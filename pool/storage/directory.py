"""An object store in a directory: the embedded default."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pool.errors import ObjectMissing, StorageFull, StorageUnavailable

COPY_BYTES = 1024 * 1024
FULL = (errno.ENOSPC, errno.EDQUOT)
INCOMING, PARTS = ".incoming", ".parts"
"""Beside the objects: what is not one yet."""


class DirectoryStore:
    """Objects as files under one directory, readable by this user only."""

    def __init__(self, root: Path) -> None:
        self._root = root
        with as_pool_errors():
            for directory in (root, root / INCOMING):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, key: str, stream: BinaryIO, size: int) -> None:
        """Write beside, flush to the disk, then rename: a crash leaves no half object."""
        target = self._path(key)
        incoming = self._root / INCOMING / uuid4().hex
        with as_pool_errors():
            try:
                with incoming.open("xb") as file:
                    shutil.copyfileobj(stream, file, COPY_BYTES)
                    file.flush()
                    os.fsync(file.fileno())
                    written = file.tell()
                if written != size:
                    raise StorageUnavailable(
                        f"{written} bytes arrived instead of {size}; send the request again."
                    )
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                incoming.replace(target)
            finally:
                incoming.unlink(missing_ok=True)

    def fetch(self, key: str, path: Path) -> None:
        """Copy an object into a file."""
        with as_pool_errors():
            try:
                shutil.copyfile(self._path(key), path)
            except FileNotFoundError as error:
                raise ObjectMissing(f"The object {key} is not in the store.") from error

    def size(self, key: str) -> int | None:
        """The length of an object; None if there is none."""
        with as_pool_errors():
            try:
                return self._path(key).stat().st_size
            except FileNotFoundError:
                return None

    def blocks(self, key: str) -> Iterator[bytes]:
        """An object's bytes, a block at a time."""
        with as_pool_errors():
            try:
                file = self._path(key).open("rb")
            except FileNotFoundError as error:
                raise ObjectMissing(f"The object {key} is not in the store.") from error
            with file:
                while block := file.read(COPY_BYTES):
                    yield block

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with as_pool_errors():
            self._path(key).unlink(missing_ok=True)

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with `prefix`, in order."""
        for path in sorted(self._root.rglob("*")):
            key = path.relative_to(self._root).as_posix()
            if path.is_file() and key[0] != "." and key.startswith(prefix):
                yield key

    def older(self, prefix: str, age_s: float) -> Iterator[str]:
        """Keys that begin with `prefix` and were written at least so long ago."""
        return (key for key in self.keys(prefix) if _is_older(self._path(key), age_s))

    def tidy(self, age_s: float) -> int:
        """Delete files whose writers were killed so long ago; how many there were."""
        with as_pool_errors():
            left = [path for path in (self._root / ".incoming").iterdir() if _is_older(path, age_s)]
            for path in left:
                path.unlink(missing_ok=True)
        return len(left)

    def ping(self) -> None:
        """Return if the directory is there and can be written."""
        if not os.access(self._root, os.W_OK):
            raise StorageUnavailable("The object directory cannot be written.")

    def _path(self, key: str) -> Path:
        return object_path(self._root, key)


def object_path(root: Path, key: str) -> Path:
    """Where an object of this key lies.

    Raises:
        ValueError: the key would leave the directory.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"not an object key: {key!r}")
    return root.joinpath(*parts)


def _is_older(path: Path, age_s: float) -> bool:
    """Whether the file is there, and was last written at least so long ago."""
    try:
        return path.stat().st_mtime <= time.time() - age_s
    except FileNotFoundError:
        return False


@contextmanager
def as_pool_errors() -> Iterator[None]:
    """Say of a failing disk what the pool's callers understand; no path is told."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(
                "The server's disk is full; nothing was kept. Ask its operator to make room."
            ) from error
        raise StorageUnavailable(f"The object directory failed: {error.strerror}.") from error
