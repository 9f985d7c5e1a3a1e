"""Read a zip archive's directory strictly: no two readings possible, nothing unpacked.

The layout is that of PKWARE's APPNOTE 6.3.10, sections 4.3.7 to 4.3.16. The end record must be the
file's last 22 bytes, so that bytes hidden behind the archive and archives hidden in comments are
refused.
"""

import struct
from dataclasses import dataclass

from pool.airlock.limits import Limits
from pool.airlock.refusals import Refused, refused
from pool.airlock.source import Source

END = struct.Struct("<4s4H2LH")
END64_LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
EXTRA = struct.Struct("<2H")
ZIP64_EXTRA = 1
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF  # "see the zip64 field"
ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
SIZES_FOLLOW = 1 << 3  # in a data descriptor behind the data; torch's local sizes are zero


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipEntry:
    """One entry: where its bytes, packed or not, lie in the file, and its contents' CRC-32."""

    name: str
    is_stored: bool
    header_start: int
    start: int
    size: int
    crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Directory:
    start: int
    size: int
    n_entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Central:
    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header_start: int


def read_entries(source: Source, limits: Limits) -> dict[str, ZipEntry]:
    """Return the archive's entries by name, in the directory's order; directories left out.

    Raises:
        Refused: One of the codes that begin with `zip-`.
    """
    directory = _find_directory(source)
    too_large = directory.size > limits.max_zip_directory_bytes
    if too_large or directory.n_entries > limits.max_zip_entries:
        raise refused("zip-too-many-entries", limit=limits.max_zip_entries)
    raw = source.read(directory.start, directory.size)
    entries: dict[str, ZipEntry] = {}
    position = 0
    for _ in range(directory.n_entries):
        central, position = _read_central(raw, position)
        if central.name in entries:
            raise refused("zip-duplicate-name", entry=central.name)
        entries[central.name] = _read_local(source, central)
    if position != len(raw):
        raise _malformed("directory length")
    _check_disjoint(entries, directory.start)
    return {name: entry for name, entry in entries.items() if not name.endswith("/")}


def check_stored(entries: dict[str, ZipEntry]) -> None:
    """Refuse (`zip-compressed`) entries that would have to be unpacked; none ever is."""
    for entry in entries.values():
        if not entry.is_stored:
            raise refused("zip-compressed", entry=entry.name)


def check_crc(source: Source, entry: ZipEntry, limits: Limits) -> None:
    """Refuse (`zip-checksum`) an entry whose bytes are not those that were packed."""
    if source.crc32(entry.start, entry.size, limits.block_bytes) != entry.crc:
        raise refused("zip-checksum", entry=entry.name)


def _find_directory(source: Source) -> _Directory:
    end_start = source.size - END.size
    if end_start < 0:
        raise refused("truncated-file")
    end = END.unpack(source.read(end_start, END.size))
    if end[0] != b"PK\x05\x06":
        raise refused("truncated-file")
    *disks, total, size, start, comment = end[1:]
    if comment:
        raise _malformed("comment")
    if end_start >= END64_LOCATOR.size:
        locator_start = end_start - END64_LOCATOR.size
        locator = END64_LOCATOR.unpack(source.read(locator_start, END64_LOCATOR.size))
        if locator[0] == b"PK\x06\x07":
            return _find_directory64(source, locator, locator_start, (total, size, start))
    if any(disks[:2]) or disks[2] != total or start + size != end_start:
        raise _malformed("end record")
    return _Directory(start=start, size=size, n_entries=total)


def _find_directory64(
    source: Source, locator: tuple[bytes, int, int, int], locator_start: int, short: tuple[int, ...]
) -> _Directory:
    end64_start = locator[2]
    if locator[1] != 0 or locator[3] > 1 or end64_start + END64.size != locator_start:
        raise _malformed("zip64 locator")
    end64 = END64.unpack(source.read(end64_start, END64.size))
    here, total, size, start = end64[6:]
    if end64[0] != b"PK\x06\x06" or end64[1] != END64.size - 12 or any(end64[4:6]) or here != total:
        raise _malformed("zip64 end record")
    for value, truth, full in zip(
        short, (total, size, start), (FULL16, FULL32, FULL32), strict=True
    ):
        if value not in (truth, full):
            raise _malformed("zip64 end record")
    if start + size != end64_start:
        raise _malformed("directory position")
    return _Directory(start=start, size=size, n_entries=total)


def _read_central(raw: bytes, position: int) -> tuple[_Central, int]:
    if position + CENTRAL.size > len(raw):
        raise _malformed("directory length")
    fields = CENTRAL.unpack_from(raw, position)
    _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment = fields[1:13]
    name_end = position + CENTRAL.size + n_name
    end = name_end + n_extra + n_comment
    if fields[0] != b"PK\x01\x02" or end > len(raw):
        raise _malformed("directory entry")
    raw_name = raw[position + CENTRAL.size : name_end]
    name = _safe_name(raw_name)
    if flags & ENCRYPTED:
        raise refused("zip-encrypted", entry=name)
    header_start = fields[16]
    wide = _zip64_values(raw[name_end : name_end + n_extra])
    size, packed, header_start = (
        _widened(value, wide) for value in (size, packed, header_start)
    )  # the order in which the zip64 field lists those that overflowed
    if method == 0 and size != packed:
        raise _malformed("sizes")
    central = _Central(
        name=name,
        raw_name=raw_name,
        flags=flags,
        method=method,
        crc=crc,
        packed=packed,
        size=size,
        header_start=header_start,
    )
    return central, end


def _read_local(source: Source, central: _Central) -> ZipEntry:
    if central.header_start + LOCAL.size > source.size:
        raise _malformed("entry position")
    fields = LOCAL.unpack(source.read(central.header_start, LOCAL.size))
    _, flags, method, _, _, crc, packed, size, n_name, n_extra = fields[1:]
    name_start = central.header_start + LOCAL.size
    start = name_start + n_name + n_extra
    if fields[0] != b"PK\x03\x04" or start + central.packed > source.size:
        raise _malformed("entry position")
    tail = source.read(name_start, n_name + n_extra)
    if tail[:n_name] != central.raw_name or (method, flags) != (central.method, central.flags):
        raise _malformed("local header")
    wide = _zip64_values(tail[n_name:]) if FULL32 in (packed, size) else []
    claims = [_widened(size, wide), _widened(packed, wide), crc]
    allowed = [central.size, central.packed, central.crc]
    deferred = bool(flags & SIZES_FOLLOW)
    if any(c != a and not (deferred and c == 0) for c, a in zip(claims, allowed, strict=True)):
        raise _malformed("local header")
    return ZipEntry(
        name=central.name,
        is_stored=central.method == 0,
        header_start=central.header_start,
        start=start,
        size=central.packed,
        crc=central.crc,
    )


def _check_disjoint(entries: dict[str, ZipEntry], directory_start: int) -> None:
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: entry.header_start):
        if entry.header_start < end or entry.start + entry.size > directory_start:
            raise refused("zip-overlap", entry=entry.name)
        end = entry.start + entry.size


def _safe_name(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError as error:
        raise refused("zip-unsafe-path", entry=raw.decode("latin-1")) from error
    parts = name.removesuffix("/").split("/")
    if not name.isprintable() or "\\" in name or ":" in name or {"", ".", ".."} & set(parts):
        raise refused("zip-unsafe-path", entry=name)
    return name


def _zip64_values(extra: bytes) -> list[int]:
    position = 0
    while position + EXTRA.size <= len(extra):
        kind, length = EXTRA.unpack_from(extra, position)
        position += EXTRA.size
        if kind == ZIP64_EXTRA and length % 8 == 0 and position + length <= len(extra):
            return list(struct.unpack_from(f"<{length // 8}Q", extra, position))
        position += length
    return []


def _widened(value: int, wide: list[int]) -> int:
    if value != FULL32:
        return value
    if not wide:
        raise _malformed("zip64 field")
    return wide.pop(0)


def _malformed(detail: str) -> Refused:
    return refused("zip-malformed", detail=detail)
