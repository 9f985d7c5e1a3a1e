"""The uploaded file: opened once, read by position, never mapped, so memory stays bounded."""

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pool.airlock.limits import Limits
from pool.airlock.refusals import refused


class Source:
    """Bytes of one regular file."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size

    def read(self, start: int, length: int) -> bytes:
        """Read exactly these bytes.

        Raises:
            Refused: The file has fewer (`truncated-file`).
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise refused("truncated-file")
        parts: list[bytes] = []
        while length:
            part = os.pread(self._descriptor, length, start)
            if not part:
                raise refused("truncated-file")
            parts.append(part)
            start, length = start + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def blocks(self, start: int, length: int, block_bytes: int) -> Iterator[bytes]:
        """Read these bytes in blocks of a fixed size; the last may be shorter."""
        for offset in range(0, length, block_bytes):
            yield self.read(start + offset, min(block_bytes, length - offset))

    def crc32(self, start: int, length: int, block_bytes: int) -> int:
        """CRC-32 of these bytes, as zip archives record it."""
        value = 0
        for block in self.blocks(start, length, block_bytes):
            value = zlib.crc32(block, value)
        return value


@contextmanager
def open_source(path: Path, limits: Limits) -> Iterator[Source]:
    """Open a file for inspection; a link, device or pipe is refused, as is one too large.

    Raises:
        Refused: `not-a-file`, `empty-file` or `file-too-large`.
    """
    if path.is_symlink():
        raise refused("not-a-file")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise refused("not-a-file")
        if status.st_size == 0:
            raise refused("empty-file")
        if status.st_size > limits.max_source_bytes:
            raise refused("file-too-large", size=status.st_size, limit=limits.max_source_bytes)
        yield Source(descriptor, status.st_size)
    finally:
        os.close(descriptor)
