"""Files that must be refused: name -> (code, bytes), built on demand."""

import gzip
import io
import json
import os
import pickle  # noqa: TID251 - to write the files that must never be read with it
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable

import airlock_forge as forge
import numpy as np
import torch
from airlock_forge import (
    EMPTY_ORDERED_DICT,
    FLOATS_4,
    checkpoint,
    entry,
    one_tensor,
    pickled,
    safetensors,
    storage,
    tensor,
    text,
)
from torch import nn

NAN, INFINITY = float("nan"), float("inf")
DATA_0 = "archive/data/0"


class OwnModule(nn.Module):
    """A user's own class, as full-module pickles name it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)


class RunsCommand:
    """Runs a shell command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def saved(value: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def subclass_tensor() -> torch.Tensor:
    carrying = torch.ones(2)
    carrying.note = "attributes make torch pickle the type"
    return carrying


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("pickle"), io.BytesIO(b""))
    return buffer.getvalue()


def twice_in_zip() -> bytes:
    data = forge.archive(
        pickled(forge.dict_of({"w": tensor()})), others=[("archive/data/1", b"1234")]
    )
    return data.replace(b"archive/data/1", b"archive/data/0")


def with_entry(name: str) -> bytes:
    return forge.archive(pickled(forge.dict_of({"w": tensor()})), others=[(name, b"x")])


def overlapping_zip() -> bytes:
    """An entry inside another entry's bytes, as in zip bombs without compression."""
    name, crc = b"archive/data/2", zlib.crc32(FLOATS_4)
    facts = (crc, 16, 16, len(name))
    inner = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, *facts, 0) + name + FLOATS_4
    body = pickled(forge.dict_of({"w": tensor()}))
    data = forge.archive(body, {"0": FLOATS_4, "1": inner})
    fields = (20, 20, 0, 0, 0, 0, *facts, 0, 0, 0, 0, 0, data.index(inner))
    record = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields) + name
    _, _, _, n, _, size, start, _ = struct.unpack("<4s4H2LH", data[-22:])
    grown = (0, 0, n + 1, n + 1, size + len(record), start, 0)
    return data[:-22] + record + struct.pack("<4s4H2LH", b"PK\x05\x06", *grown)


def many_zip_entries(n: int = 200_000) -> bytes:
    record = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *[0] * 9, 0, *[0] * 6)
    body = b"PK\x03\x04" + b"\x00" * 26 + record * n
    size, start = len(record) * n, 30
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, n, n, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, size, start, 0)
    return body + end64 + locator + end


def deflate_bomb() -> bytes:
    body = pickled(
        forge.dict_of({"w": tensor(storage(n=50_000_000), shape=(50_000_000,), strides=(1,))})
    )
    return forge.archive(body, {"0": bytes(200_000_000)}, compression=zipfile.ZIP_DEFLATED)


def aliases(n: int = 300) -> bytes:
    """One megabyte of storage under n names: n megabytes when copied."""
    count = 262_144
    views = {f"w{i}": tensor(storage(n=count), shape=(count - i,), strides=(1,)) for i in range(n)}
    return checkpoint(views, {"0": bytes(4 * count)})


def many_tensors_pickle(n: int = 200_000) -> bytes:
    """n tensors of 16 bytes each beside the model: function and arguments are memoised."""
    function = forge.named("torch._utils", "_rebuild_tensor_v2") + b"q\x000"
    arguments = forge.tuple_of(storage(), b"K\x00", b")", b")", b"\x89", EMPTY_ORDERED_DICT)
    items = b"".join(b"X\x06\x00\x00\x00%06dh\x00h\x01R" % i for i in range(n))
    wrapped = forge.dict_of({"w": tensor(), "optimizer": b"}(" + items + b"u"})
    return forge.archive(pickled(function + arguments + b"q\x010" + wrapped))


def header_of(n: int) -> bytes:
    item = '"%06d":{"dtype":"F32","shape":[],"data_offsets":[%d,%d]}'
    inner = ",".join(item % (i, 4 * i, 4 * i + 4) for i in range(n))
    return safetensors(b"{" + inner.encode() + b"}", bytes(4 * n))


def instructions(n: int) -> bytes:
    return forge.archive(pickled(b"}" + b"N0" * (n // 2)))


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def sparse() -> bytes:
    return saved({"w": torch.eye(2).to_sparse()})


def nested() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls nested tensors a prototype
        return saved({"w": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])})


def jagged() -> bytes:
    """As torch saves a nested tensor of jagged layout, by hand: its classes are slow to import."""
    rebuild = forge.named("torch._tensor", "_rebuild_from_type_v2")
    function = forge.named("torch.nested._internal.nested_tensor", "_rebuild_njt")
    return checkpoint({"w": rebuild + forge.tuple_of(function, tensor()) + b"R"})


def legacy() -> bytes:
    return saved(nn.Linear(2, 2).state_dict(), _use_new_zipfile_serialization=False)


def quantized() -> bytes:
    """As torch saves a qint8 tensor: the call of _rebuild_qtensor, by hand."""
    call = forge.named("torch._utils", "_rebuild_qtensor")
    return checkpoint({"w": call + forge.tuple_of(storage(kind="FloatStorage")) + b"R"})


def torchscript() -> bytes:
    """As torch.jit.save packs it: code and its debug records compressed, weights stored."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("archive/data.pkl", pickled(b"}"))
        packed.writestr("archive/code/__torch__.py", b"a" * 99, zipfile.ZIP_DEFLATED)
        packed.writestr("archive/constants.pkl", pickled(b")"))
    return buffer.getvalue()


def big_endian() -> bytes:
    return forge.archive(
        pickled(forge.dict_of({"w": tensor()})), others=[("archive/byteorder", b"big")]
    )


def zip64_lie() -> bytes:
    """A directory record that sends its reader to a zip64 field which is not there."""
    return forge.central_patched(forge.valid_zip(), 24, b"\xff\xff\xff\xff", entry_name=DATA_0)


def self_contradicting_size(size: int) -> bytes:
    raw = struct.pack("<L", size)
    return forge.central_patched(
        forge.central_patched(forge.valid_zip(), 20, raw, entry_name=DATA_0),
        24,
        raw,
        entry_name=DATA_0,
    )


def two_tensors(first: bytes, second: bytes) -> bytes:
    return checkpoint({"a": first, "b": second})


def ordered(*pairs: tuple[str, dict[str, object]]) -> bytes:
    """A header whose keys may repeat."""
    inner = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs)
    return b"{" + inner.encode() + b"}"


ONE = entry("F32", [4], 0, 16)
SEPARATE = entry("F32", [4], 16, 32)
VALUES_8 = FLOATS_4 * 2

HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    # what is no checkpoint at all
    "empty": ("empty-file", lambda: b""),
    "text": ("unrecognised-format", lambda: b"hello, I am no checkpoint"),
    "one byte": ("unrecognised-format", lambda: b"\x00"),
    "gzip": ("compressed-file", lambda: gzip.compress(forge.valid_zip())),
    "xz": ("compressed-file", lambda: b"\xfd7zXZ\x00" + bytes(64)),
    "tar": ("tar-archive", tar),
    "legacy torch": ("legacy-torch", legacy),
    "raw pickle": ("raw-pickle", lambda: pickle.dumps({"w": [1.0]})),
    "text pickle": ("raw-pickle", lambda: b"cposix\nsystem\n(S'true'\ntR."),
    "raw pickle that runs a command": (
        "raw-pickle",
        lambda: pickle.dumps(RunsCommand("true")),
    ),
    # zip archives of other kinds
    "torchscript": ("torchscript", torchscript),
    "torchscript without code": ("torchscript", lambda: with_entry("archive/constants.pkl")),
    "exported program": ("exported-program", lambda: with_entry("archive/archive_format")),
    "exported model": ("exported-program", lambda: with_entry("archive/models/model.json")),
    "old exported program": (
        "exported-program",
        lambda: with_entry("serialized_exported_program.json"),
    ),
    "zip of something else": (
        "not-a-torch-zip",
        lambda: forge.archive(b"").replace(b"data.pkl", b"data.txt"),
    ),
    "two checkpoints in one zip": ("not-a-torch-zip", lambda: with_entry("other/data.pkl")),
    "big-endian": ("big-endian", big_endian),
    # zip archives that lie
    "deflated": (
        "zip-compressed",
        lambda: forge.archive(pickled(b"}"), compression=zipfile.ZIP_DEFLATED),
    ),
    "deflate bomb": ("zip-compressed", deflate_bomb),
    "encrypted": (
        "zip-encrypted",
        lambda: forge.central_patched(forge.valid_zip(), 8, b"\x01\x00", entry_name=DATA_0),
    ),
    "two entries of one name": ("zip-duplicate-name", twice_in_zip),
    "parent path": ("zip-unsafe-path", lambda: with_entry("archive/../../etc/cron.d/x")),
    "absolute path": ("zip-unsafe-path", lambda: with_entry("/etc/passwd")),
    "backslash path": ("zip-unsafe-path", lambda: with_entry("archive\\..\\x")),
    "drive path": ("zip-unsafe-path", lambda: with_entry("C:/x")),
    "path that is no UTF-8": (
        "zip-unsafe-path",
        lambda: with_entry("archive/zzz").replace(b"zzz", b"\xff\xfe\xfd"),
    ),
    "zip64 lie": ("zip-malformed", zip64_lie),
    "size beyond the file": ("zip-malformed", lambda: self_contradicting_size(10**9)),
    "size other than the local header's": ("zip-malformed", lambda: self_contradicting_size(12)),
    "local name other than the directory's": (
        "zip-malformed",
        lambda: forge.patched(forge.valid_zip(), b"archive/data/0", b"archive/data/9"),
    ),
    "local method other than the directory's": (
        "zip-malformed",
        lambda: forge.local_patched(forge.valid_zip(), 8, b"\x08\x00", entry_name=DATA_0),
    ),
    "archive comment": (
        "zip-malformed",
        lambda: forge.valid_zip()[:-2] + b"\x04\x00" + b"PK\x05\x06" + bytes(18),
    ),
    "archive that announces a comment": (
        "zip-malformed",
        lambda: forge.valid_zip()[:-2] + b"\x04\x00",
    ),
    "archive behind other bytes": ("zip-malformed", lambda: b"PK\x03\x04" + forge.valid_zip()),
    "bytes behind the archive": ("truncated-file", lambda: forge.valid_zip() + b"behind"),
    "truncated zip": ("truncated-file", lambda: forge.valid_zip()[:-40]),
    "entries that share bytes": ("zip-overlap", overlapping_zip),
    "200,000 entries": ("zip-too-many-entries", many_zip_entries),
    "flipped bit in a storage": (
        "zip-checksum",
        lambda: forge.patched(forge.valid_zip(), FLOATS_4, floats(1, -2, 3.5, 0.5)),
    ),
    "flipped bit in the pickle": (
        "zip-checksum",
        lambda: forge.patched(forge.valid_zip(), b"fc.weight", b"fd.weight"),
    ),
    # pickles that are more than data
    "global os.system": ("unknown-global", lambda: saved({"w": RunsCommand("true")})),
    "global with an absurd name": (
        "unknown-global",
        lambda: checkpoint({"w": forge.named("os" * 300, "sys\ttem\x1b[31m")}),
    ),
    "numpy array": (
        "unknown-global",
        lambda: saved({"w": torch.ones(2), "n": np.ones(2)}),
    ),
    "full module": ("full-module-pickle", lambda: saved(nn.Linear(2, 2))),
    "full module of a class of one's own": ("full-module-pickle", lambda: saved(OwnModule())),
    "module inside a dict": ("full-module-pickle", lambda: saved({"model": nn.Linear(2, 2)})),
    "sparse": ("sparse-tensor", sparse),
    "sparse CSR": (
        "sparse-tensor",
        lambda: checkpoint({"w": forge.named("torch._utils", "_rebuild_sparse_csr_tensor")}),
    ),
    "quantised": ("quantized-tensor", quantized),
    "quantised storage": (
        "quantized-tensor",
        lambda: checkpoint({"w": tensor(storage(kind="QInt8Storage"))}),
    ),
    "meta": ("meta-tensor", lambda: saved({"w": torch.zeros(2, device="meta")})),
    "meta storage": (
        "meta-tensor",
        lambda: checkpoint({"w": tensor(storage(location="meta"))}),
    ),
    "nested": ("nested-tensor", nested),
    "nested, jagged": ("nested-tensor", jagged),
    "tensor subclass": ("tensor-subclass", lambda: saved({"w": subclass_tensor()})),
    "lazily negated": ("lazy-view", lambda: saved({"w": torch._neg_view(torch.ones(3))})),
    "complex": ("complex-tensor", lambda: saved({"w": torch.zeros(2, dtype=torch.complex64)})),
    "float8": (
        "unsupported-dtype",
        lambda: saved({"w": torch.zeros(2).to(torch.float8_e4m3fn)}),
    ),
    "uint16": ("unsupported-dtype", lambda: saved({"w": torch.zeros(2, dtype=torch.uint16)})),
    "pickle cut short": (
        "pickle-malformed",
        lambda: forge.archive(pickled(forge.dict_of({"w": tensor()}))[:-9]),
    ),
    "pickle with an instruction of no use": (
        "pickle-malformed",
        lambda: forge.archive(pickled(b"}\x82\x01")),
    ),
    "pickle that calls a storage": (
        "pickle-malformed",
        lambda: forge.archive(pickled(forge.named("torch", "FloatStorage") + b")R")),
    ),
    "pickle with something behind it": (
        "pickle-malformed",
        lambda: forge.archive(pickled(b"}") + pickled(b"}")),
    ),
    "pickle with a number of 9 bytes": (
        "pickle-malformed",
        lambda: forge.archive(pickled(number_of_bits(64))),
    ),
    "pickle without bottom": (
        "pickle-malformed",
        lambda: forge.archive(pickled(b"0" * 9)),
    ),
    "pickle nested deeply": (
        "pickle-too-large",
        lambda: forge.archive(pickled(b"(" * 100_000)),
    ),
    "pickle of too many instructions": ("pickle-too-large", lambda: instructions(3_000_000)),
    "pickle of too many bytes": (
        "pickle-too-large",
        lambda: forge.archive(pickled(text("x" * 9_000_000))),
    ),
    # state dicts that are none
    "a bare tensor": ("no-state-dict", lambda: saved(torch.ones(2))),
    "a list of tensors": ("no-state-dict", lambda: saved([torch.ones(2)])),
    "an unknown wrapper": ("no-state-dict", lambda: saved({"weights": {"w": torch.ones(2)}})),
    "an empty state dict": ("empty-state-dict", lambda: saved({})),
    "an empty wrapped state dict": ("empty-state-dict", lambda: saved({"state_dict": {}})),
    "an empty safetensors": ("empty-state-dict", lambda: safetensors({})),
    "6,000 tensors": ("too-many-tensors", lambda: header_of(6_000)),
    "200,000 tensors in a pickle": ("too-many-tensors", many_tensors_pickle),
    "a name with a line break": ("bad-name", lambda: saved({"a\nb": torch.ones(2)})),
    "a name with a lone surrogate": ("bad-name", lambda: checkpoint({"\ud800": tensor()})),
    "an empty name": ("bad-name", lambda: saved({"": torch.ones(2)})),
    "a long name": ("bad-name", lambda: saved({"w" * 513: torch.ones(2)})),
    "the reserved name": ("bad-name", lambda: saved({"__metadata__": torch.ones(2)})),
    "a name that is only prefix": ("bad-name", lambda: saved({"module.": torch.ones(2)})),
    "names that collide without prefix": (
        "duplicate-name",
        lambda: saved({"w": torch.ones(2), "_orig_mod.w": torch.zeros(2)}),
    ),
    # tensors that lie about their memory
    "nine dimensions": (
        "too-many-dims",
        lambda: checkpoint({"w": tensor(shape=(1,) * 9, strides=(1,) * 9)}),
    ),
    "negative size": ("bad-shape", lambda: checkpoint({"w": tensor(shape=(-2, -2))})),
    "absurd size": (
        "bad-shape",
        lambda: checkpoint({"w": tensor(shape=(2**40, 0, 2**40), strides=(0, 0, 0))}),
    ),
    "fewer strides than sizes": ("bad-shape", lambda: checkpoint({"w": tensor(strides=(1,))})),
    "negative stride": ("bad-shape", lambda: checkpoint({"w": tensor(strides=(-2, 1))})),
    "stride bomb": (
        "expanded-tensor",
        lambda: checkpoint({"w": tensor(shape=(10**6, 10**6), strides=(0, 0))}),
    ),
    "an expanded tensor": (
        "expanded-tensor",
        lambda: saved({"w": torch.ones(1, 3).expand(4, 3)}),
    ),
    "a sliding window": (
        "expanded-tensor",
        lambda: saved({"w": torch.ones(7).as_strided((3, 3), (2, 1))}),
    ),
    "partly overlapping": (
        "overlapping-tensors",
        lambda: two_tensors(
            tensor(shape=(3,), strides=(1,)), tensor(offset=2, shape=(2,), strides=(1,))
        ),
    ),
    "one storage seen as another shape": (
        "overlapping-tensors",
        lambda: two_tensors(tensor(), tensor(shape=(4,), strides=(1,))),
    ),
    "one storage seen as another type": (
        "overlapping-tensors",
        lambda: two_tensors(tensor(), tensor(storage(kind="IntStorage"))),
    ),
    "storage aliased 300 times": ("aliased-storage", aliases),
    "one tensor under 300 names": (
        "aliased-storage",
        lambda: checkpoint({f"w{i}": tensor() for i in range(300)}),
    ),
    "large slice with gaps": (
        "strided-tensor-too-large",
        lambda: checkpoint(
            {"w": tensor(storage(n=2**25 + 2), shape=(2, 2), strides=(2**25, 1))},
            {"0": bytes(4 * (2**25 + 2))},
        ),
    ),
    "missing storage": ("storage-out-of-bounds", lambda: checkpoint({"w": tensor(storage("7"))})),
    "storage by a path": (
        "storage-out-of-bounds",
        lambda: checkpoint({"w": tensor(storage("../data.pkl"))}),
    ),
    "storage longer than its entry": (
        "storage-out-of-bounds",
        lambda: checkpoint({"w": tensor(storage(n=5))}),
    ),
    "offset beyond the storage": (
        "tensor-out-of-bounds",
        lambda: checkpoint({"w": tensor(offset=1)}),
    ),
    "negative offset": (
        "tensor-out-of-bounds",
        lambda: checkpoint({"w": tensor(offset=-1, shape=(2,), strides=(1,))}),
    ),
    "huge offset": (
        "tensor-out-of-bounds",
        lambda: checkpoint({"w": tensor(offset=2**62, shape=(0,), strides=(1,))}),
    ),
    "strides beyond the storage": (
        "tensor-out-of-bounds",
        lambda: checkpoint({"w": tensor(strides=(2**40, 1))}),
    ),
    # safetensors that lie
    "safetensors of seven bytes": ("unrecognised-format", lambda: bytes(7)),
    "safetensors header beyond the file": (
        "safetensors-header-length",
        lambda: struct.pack("<Q", 10**6) + b"{}",
    ),
    "safetensors header of 2^63 bytes": (
        "safetensors-header-length",
        lambda: struct.pack("<Q", 2**63) + b"{}",
    ),
    "200,000 tensors in a header": ("safetensors-header-too-large", lambda: header_of(200_000)),
    "header of nested brackets": (
        "safetensors-header-invalid",
        lambda: safetensors(b'{"a":' + b"[" * 500_000),
    ),
    "header that is no JSON": ("safetensors-header-invalid", lambda: safetensors(b"{'a': 1}")),
    "header that is no UTF-8": ("safetensors-header-invalid", lambda: safetensors(b'{"\xff":1}')),
    "header with NaN": ("safetensors-header-invalid", lambda: safetensors(b'{"a":NaN}')),
    "entry without offsets": (
        "safetensors-header-invalid",
        lambda: safetensors({"w": {"dtype": "F32", "shape": [4]}}),
    ),
    "entry with offsets that are no numbers": (
        "safetensors-header-invalid",
        lambda: safetensors({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, True]}}),
    ),
    "metadata that are no strings": (
        "safetensors-header-invalid",
        lambda: safetensors({"__metadata__": {"a": 1}, "w": ONE}),
    ),
    "header with a key twice": (
        "safetensors-duplicate-key",
        lambda: safetensors(ordered(("w", ONE), ("w", ONE)), FLOATS_4),
    ),
    "entry with a key twice": (
        "safetensors-duplicate-key",
        lambda: safetensors(b'{"w":{"dtype":"F32","dtype":"F32"}}'),
    ),
    "shape other than the bytes": (
        "safetensors-size-mismatch",
        lambda: safetensors({"w": entry("F32", [5], 0, 16)}, FLOATS_4),
    ),
    "tensors on the same bytes": (
        "safetensors-offsets",
        lambda: safetensors({"a": ONE, "b": ONE}, FLOATS_4),
    ),
    "a hole between tensors": (
        "safetensors-offsets",
        lambda: safetensors({"a": ONE, "b": entry("F32", [4], 20, 36)}, VALUES_8),
    ),
    "bytes behind the tensors": ("safetensors-offsets", lambda: safetensors({"a": ONE}, VALUES_8)),
    "tensors beyond the file": (
        "safetensors-offsets",
        lambda: safetensors({"a": ONE, "b": SEPARATE}, FLOATS_4),
    ),
    "float8 in safetensors": ("unsupported-dtype", lambda: one_tensor("F8_E4M3", b"1234", n=4)),
    "a type that is no string": (
        "unsupported-dtype",
        lambda: safetensors({"w": {**ONE, "dtype": ["F32"]}}, FLOATS_4),
    ),
    "complex in safetensors": ("complex-tensor", lambda: one_tensor("C64", bytes(8), n=1)),
    "a fraction for a size": (
        "bad-shape",
        lambda: safetensors({"w": entry("F32", [4.0], 0, 16)}, FLOATS_4),
    ),
    "nine dimensions in safetensors": (
        "too-many-dims",
        lambda: safetensors({"w": entry("F32", [1] * 9, 0, 4)}, bytes(4)),
    ),
    # numbers no training ends with
    "NaN": ("non-finite-weights", lambda: saved({"w": torch.tensor([1.0, NAN])})),
    "infinity": ("non-finite-weights", lambda: one_tensor("F32", floats(1, -INFINITY), n=2)),
    "NaN in float64": (
        "non-finite-weights",
        lambda: one_tensor("F64", struct.pack("<d", NAN), n=1),
    ),
    "infinity in half": (
        "non-finite-weights",
        lambda: saved({"w": torch.tensor([INFINITY]).half()}),
    ),
    "NaN in bfloat16": (
        "non-finite-weights",
        lambda: saved({"w": torch.tensor([1.0, NAN]).bfloat16()}),
    ),
    "infinity in bfloat16": ("non-finite-weights", lambda: one_tensor("BF16", b"\x80\xff", n=1)),
    "negative variance": (
        "negative-variance",
        lambda: saved({"bn.running_var": torch.tensor([1.0, -1e-9])}),
    ),
    "negative variance in bfloat16": (
        "negative-variance",
        lambda: saved({"bn.running_var": torch.tensor([-1.0]).bfloat16()}),
    ),
    "boolean that is two": ("bad-boolean", lambda: one_tensor("BOOL", b"\x01\x02", n=2)),
}


def number_of_bits(bits: int) -> bytes:
    raw = (2**bits).to_bytes(bits // 8 + 2, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw
