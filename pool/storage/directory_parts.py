"""Parts as files beside the objects: `.parts/<token>/<number>`, bytes first, their SHA-256 last.

The hash in the same file makes a part one rename: it is there with its hash, or not at all.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pool.errors import ObjectMissing
from pool.storage.directory import COPY_BYTES, PARTS, as_pool_errors, object_path
from pool.storage.parts import Part, Unfinished

HASH_BYTES = 32
UNFINISHED = "unfinished-"
"""Begins the names of files that no rename has made a part yet."""


class DirectoryParts:
    """Parts of uploads under one directory, readable by this user only."""

    presigns = False

    def __init__(self, root: Path) -> None:
        self._root = root

    def begin(self, key: str) -> str:
        """A name of its own; its directory is made with the first part."""
        del key
        return uuid4().hex

    def url(self, key: str, token: str, number: int, *, size: int, expires_s: int) -> str:
        """Parts come to the API."""
        raise NotImplementedError

    def writer(self, token: str, number: int) -> "FileWriter":
        """A file that becomes the part when it is whole."""
        with as_pool_errors():
            self._directory(token).mkdir(parents=True, exist_ok=True, mode=0o700)
            return FileWriter(self._directory(token), number)

    def received(self, key: str, token: str) -> list[Part]:
        """Read from the directory: sizes from the files' lengths, hashes from their ends."""
        del key
        with as_pool_errors():
            try:
                paths = sorted(self._directory(token).iterdir())
            except FileNotFoundError:
                return []
            return [_read_part(path) for path in paths if path.name.isdigit()]

    def assemble(self, key: str, token: str, parts: Sequence[Part]) -> None:
        """Copy the parts behind each other, flush to the disk, then rename."""
        directory = self._directory(token)
        whole = directory / f"{UNFINISHED}{uuid4().hex}"
        target = object_path(self._root, key)
        with as_pool_errors():
            try:
                with whole.open("xb") as file:
                    for part in parts:
                        with _path(directory, part.number).open("rb") as source:
                            _copy(source, file, part.size_bytes)
                    file.flush()
                    os.fsync(file.fileno())
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                whole.replace(target)
            except FileNotFoundError as error:
                raise ObjectMissing("A part of the upload is not in the store.") from error
            finally:
                whole.unlink(missing_ok=True)

    def discard(self, key: str, token: str) -> None:
        """Remove the directory; a part that arrives meanwhile is found by the next sweep."""
        del key
        with as_pool_errors(), suppress(FileNotFoundError):
            shutil.rmtree(self._directory(token))

    def unfinished(self) -> Iterator[Unfinished]:
        """One for each directory; it has begun when its last part came."""
        with as_pool_errors():
            parts = self._root / PARTS
            for directory in sorted(parts.iterdir()) if parts.is_dir() else []:
                with suppress(FileNotFoundError):  # discarded meanwhile
                    changed = datetime.fromtimestamp(directory.stat().st_mtime, UTC)
                    yield Unfinished(key="", token=directory.name, begun_at=changed)

    def _directory(self, token: str) -> Path:
        return object_path(self._root / PARTS, token)


class FileWriter:
    """A part under way: hashed as it is written."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory, self._number = directory, number
        self._path = directory / f"{UNFINISHED}{uuid4().hex}"
        self._file = self._path.open("xb")
        self._digest = hashlib.sha256()

    def write(self, block: bytes | bytearray) -> None:
        """Append."""
        with as_pool_errors():
            self._file.write(block)
        self._digest.update(block)

    def commit(self) -> Part:
        """Flush to the disk, then rename: a crash leaves no half part."""
        with as_pool_errors():
            self._file.write(self._digest.digest())
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            target = _path(self._directory, self._number)
            self._path.replace(target)
            return _read_part(target)

    def close(self) -> None:
        """Remove the file, unless it became the part."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _path(directory: Path, number: int) -> Path:
    return directory / f"{number:05d}"


def _read_part(path: Path) -> Part:
    with path.open("rb") as file:
        size = os.fstat(file.fileno())[stat.ST_SIZE] - HASH_BYTES
        file.seek(size)
        return Part(number=int(path.name), size_bytes=size, etag=file.read(HASH_BYTES).hex())


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    """The part without its hash."""
    while size:
        block = source.read(min(size, COPY_BYTES))
        if not block:
            raise ObjectMissing("A part of the upload is shorter than it was.")
        target.write(block)
        size -= len(block)
