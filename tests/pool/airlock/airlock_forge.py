"""Builders of checkpoints, honest and hostile, byte by byte; nothing here uses the airlock."""

import io
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence

EMPTY_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"
FLOATS_4 = struct.pack("<4f", 1.0, -2.0, 3.5, 0.25)


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def dict_of(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def storage(
    key: str = "0", *, kind: str = "FloatStorage", n: int = 4, location: str = "cpu"
) -> bytes:
    parts = (text("storage"), named("torch", kind), text(key), text(location), number(n))
    return tuple_of(*parts) + b"Q"


def tensor(
    where: bytes | None = None,
    *,
    offset: int = 0,
    shape: Sequence[int] = (2, 2),
    strides: Sequence[int] = (2, 1),
    metadata: bytes = b"",
) -> bytes:
    arguments = (
        storage() if where is None else where,
        number(offset),
        tuple_of(*map(number, shape)),
        tuple_of(*map(number, strides)),
        b"\x89",
        EMPTY_ORDERED_DICT,
        metadata,
    )
    return named("torch._utils", "_rebuild_tensor_v2") + tuple_of(*arguments) + b"R"


def pickled(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def archive(
    pickle: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    others: Sequence[tuple[str, bytes]] = (),
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """A zip like torch's, with root folder `archive`; others are extra entries by full name."""
    held = {"0": FLOATS_4} if storages is None else storages
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        packed.writestr("archive/data.pkl", pickle)
        for key, data in held.items():
            packed.writestr(f"archive/data/{key}", data)
        for name, data in others:
            packed.writestr(name, data)
    return buffer.getvalue()


def checkpoint(items: Mapping[str, bytes], storages: Mapping[str, bytes] | None = None) -> bytes:
    return archive(pickled(dict_of(items)), storages)


def valid_zip() -> bytes:
    return checkpoint({"fc.weight": tensor()})


def entry(dtype: str, shape: Sequence[object], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def safetensors(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def valid_safetensors() -> bytes:
    return safetensors({"fc.weight": entry("F32", [2, 2], 0, 16)}, FLOATS_4)


def one_tensor(dtype: str, data: bytes, *, n: int, name: str = "w") -> bytes:
    return safetensors({name: entry(dtype, [n], 0, len(data))}, data)


def patched(data: bytes, old: bytes, new: bytes, *, count: int = 1, last: bool = False) -> bytes:
    """Replace bytes that must be there: the first, or last, occurrence, or the first `count`."""
    assert old in data
    assert len(old) == len(new)
    if last:
        at = data.rindex(old)
        return data[:at] + new + data[at + len(old) :]
    return data.replace(old, new, count)


def central_patched(data: bytes, offset: int, value: bytes, *, entry_name: str) -> bytes:
    """Overwrite bytes of one entry's central directory record at this offset."""
    at = data.rindex(entry_name.encode()) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    return data[: at + offset] + value + data[at + offset + len(value) :]


def local_patched(data: bytes, offset: int, value: bytes, *, entry_name: str) -> bytes:
    """Overwrite bytes of one entry's local header at this offset."""
    at = data.index(entry_name.encode()) - 30
    assert data[at : at + 4] == b"PK\x03\x04"
    return data[: at + offset] + value + data[at + offset + len(value) :]
