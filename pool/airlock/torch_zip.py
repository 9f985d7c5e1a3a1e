"""A zip-format torch checkpoint (torch 1.6 and later) as a list of stored tensors."""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pool.airlock.limits import Limits
from pool.airlock.pickle_reader import Mapping, Record, TensorRecord, read_pickle
from pool.airlock.refusals import refused
from pool.airlock.source import Source
from pool.airlock.tensors import StoredTensor, check_shape, check_strides
from pool.airlock.zip_reader import ZipEntry, check_crc, check_stored, read_entries

WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher")
EXPORTED = ("archive_format", "serialized_exported_program.json", "serialized_state_dict.pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCheckpoint:
    """The tensors of a state dict in its order, and the names of what was left out."""

    tensors: list[StoredTensor]
    dropped: list[str]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A checked tensor together with the entry its storage lies in."""

    tensor: StoredTensor
    entry: ZipEntry


def read_torch_zip(source: Source, limits: Limits) -> TorchCheckpoint:
    """Find the state dict's tensors in the file and check that each has bytes of its own.

    Raises:
        Refused: The archive, its pickle or a tensor is not acceptable.
    """
    entries = read_entries(source, limits)
    root = _find_root(entries)  # first, for TorchScript compresses its code
    check_stored(entries)
    _check_byte_order(source, entries.get(f"{root}byteorder"))
    pickle_entry = entries[f"{root}data.pkl"]
    if pickle_entry.size > limits.max_pickle_bytes:
        raise refused("pickle-too-large", what="bytes", limit=limits.max_pickle_bytes)
    check_crc(source, pickle_entry, limits)
    top = read_pickle(source.read(pickle_entry.start, pickle_entry.size), limits)
    records, dropped = _select_state_dict(top)
    if len(records) > limits.max_tensors:
        raise refused("too-many-tensors", limit=limits.max_tensors)
    placed = [_place(name, record, entries, root, limits) for name, record in records.items()]
    kept, aliases = _without_aliases(placed, limits)
    for entry in {item.entry.name: item.entry for item in kept}.values():
        check_crc(source, entry, limits)
    return TorchCheckpoint(tensors=[item.tensor for item in kept], dropped=aliases + dropped)


def _find_root(entries: dict[str, ZipEntry]) -> str:
    """Return the archive's one top folder, with its slash."""
    tails = {name.partition("/")[2] for name in entries} | set(entries)
    if any(tail in EXPORTED or tail.startswith("models/") for tail in tails):
        raise refused("exported-program")
    if any(tail == "constants.pkl" or tail.startswith("code/") for tail in tails):
        raise refused("torchscript")
    roots = [
        name.removesuffix("data.pkl")
        for name in entries
        if name.endswith("/data.pkl") and name.count("/") == 1
    ]
    if len(roots) != 1:
        raise refused("not-a-torch-zip")
    return roots[0]


def _check_byte_order(source: Source, entry: ZipEntry | None) -> None:
    """Torch wrote no such entry before 2.1, and then always the machine's order, little."""
    if entry is not None and source.read(entry.start, min(entry.size, 16)) != b"little":
        raise refused("big-endian")


def _select_state_dict(top: Record) -> tuple[dict[str, TensorRecord], list[str]]:
    """Return the named tensors of a checkpoint, and the names that were passed over."""
    if not isinstance(top, dict):
        raise refused("no-state-dict")
    wrapper = next((key for key in WRAPPERS if _tensors_of(top.get(key))), None)
    chosen: Mapping = top if wrapper is None else top[wrapper]
    records = _tensors_of(chosen)
    if not records:
        holds_more = any(isinstance(value, dict) and value for value in top.values())
        raise refused("no-state-dict" if holds_more else "empty-state-dict")
    beside = [key for key in top if key != wrapper] if wrapper is not None else []
    return records, [key for key in chosen if key not in records] + beside


def _tensors_of(value: Record) -> dict[str, TensorRecord]:
    if not isinstance(value, dict):
        return {}
    return {key: item for key, item in value.items() if isinstance(item, TensorRecord)}


def _place(
    name: str, record: TensorRecord, entries: dict[str, ZipEntry], root: str, limits: Limits
) -> _Placed:
    """Turn a record's claims into a place in the file, checking each of them."""
    if record.is_lazy:
        raise refused("lazy-view", name=name)
    dtype, n_stored = record.storage.dtype, record.storage.n_elements
    entry = entries.get(f"{root}data/{record.storage.key}")
    if entry is None or n_stored * dtype.itemsize > entry.size:
        raise refused("storage-out-of-bounds", name=record.storage.key)
    shape = record.shape if isinstance(record.shape, list | tuple) else (None,)
    sizes = check_shape(name, shape, limits)
    strides = check_strides(name, sizes, record.strides)
    offset = record.offset
    if type(offset) is not int or offset < 0:
        raise refused("tensor-out-of-bounds", name=name)
    start = entry.start + offset * dtype.itemsize
    tensor = StoredTensor(name=name, dtype=dtype, shape=sizes, strides=strides, start=start)
    if offset * dtype.itemsize + tensor.span > n_stored * dtype.itemsize:
        raise refused("tensor-out-of-bounds", name=name)
    if not tensor.is_row_major and tensor.span > limits.max_strided_bytes:
        raise refused("strided-tensor-too-large", name=name)
    return _Placed(tensor, entry)


def _without_aliases(placed: Iterable[_Placed], limits: Limits) -> tuple[list[_Placed], list[str]]:
    """Keep the first name of each tensor; refuse tensors that share only part of their bytes."""
    by_entry: dict[str, list[_Placed]] = defaultdict(list)
    kept: list[_Placed] = []
    aliases: list[str] = []
    seen: set[tuple[object, ...]] = set()
    for item in placed:
        tensor = item.tensor
        by_entry[item.entry.name].append(item)
        identity = (tensor.start, tensor.dtype, tensor.shape, tensor.strides)
        if tensor.n_bytes and identity in seen:
            aliases.append(tensor.name)
            continue
        seen.add(identity)
        kept.append(item)
    for sharing in by_entry.values():
        if (
            sum(item.tensor.n_bytes for item in sharing)
            > limits.max_aliases * sharing[0].entry.size
        ):
            raise refused("aliased-storage", name=sharing[0].tensor.name, limit=limits.max_aliases)
    _check_disjoint([item.tensor for item in kept if item.tensor.n_bytes])
    return kept, aliases


def _check_disjoint(tensors: list[StoredTensor]) -> None:
    ordered = sorted(tensors, key=lambda tensor: tensor.start)
    for before, after in itertools.pairwise(ordered):
        if before.start + before.span > after.start:
            raise refused("overlapping-tensors", name=after.name, other=before.name)
