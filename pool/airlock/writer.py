"""Write canonical safetensors, block by block.

Beyond the safetensors format: the header keeps the state dict's order, its metadata name the
format, the source and that order (readers may sort keys), and wider numbers come first in the
data, so that each tensor lies at a multiple of its item size.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pool.airlock.limits import Limits
from pool.airlock.source import Source
from pool.airlock.tensors import StoredTensor
from pool.airlock.values import Array, check_values

FORMAT = "modelpool-1"
HEADER_ALIGNMENT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the tensors come from, as the metadata tell it."""

    source_format: str
    order_is_known: bool


def write_canonical(
    source: Source, tensors: Sequence[StoredTensor], origin: Origin, target: Path, limits: Limits
) -> None:
    """Copy the tensors into one safetensors file, checking every number on its way.

    The file appears under its name only when it is complete.

    Raises:
        Refused: A tensor holds numbers that are not acceptable.
    """
    partial = target.with_name(target.name + ".partial")
    laid_out = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)
    try:
        with partial.open("wb") as out:
            out.write(_header(tensors, laid_out, origin))
            for tensor in laid_out:
                _copy(source, tensor, out, limits)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _header(
    tensors: Sequence[StoredTensor], laid_out: Sequence[StoredTensor], origin: Origin
) -> bytes:
    offsets: dict[str, list[int]] = {}
    position = 0
    for tensor in laid_out:
        offsets[tensor.name] = [position, position + tensor.n_bytes]
        position += tensor.n_bytes
    metadata = {
        "format": FORMAT,
        "source_format": origin.source_format,
        "order_is_known": json.dumps(origin.order_is_known),
        "order": json.dumps([tensor.name for tensor in tensors], separators=(",", ":")),
    }
    header: dict[str, object] = {"__metadata__": metadata}
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype.name,
            "shape": tensor.shape,
            "data_offsets": offsets[tensor.name],
        }
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % HEADER_ALIGNMENT)
    return len(raw).to_bytes(8, "little") + raw


def _copy(source: Source, tensor: StoredTensor, out: BinaryIO, limits: Limits) -> None:
    blocks = _row_major_blocks if tensor.is_row_major else _gathered_blocks
    for numbers in blocks(source, tensor, limits):
        check_values(tensor, numbers)
        out.write(numbers.data)


def _row_major_blocks(source: Source, tensor: StoredTensor, limits: Limits) -> Iterator[Array]:
    for block in source.blocks(tensor.start, tensor.n_bytes, limits.block_bytes):
        yield np.frombuffer(block, dtype=tensor.dtype.numpy)


def _gathered_blocks(source: Source, tensor: StoredTensor, limits: Limits) -> Iterator[Array]:
    """Bring a permuted or sliced tensor into row-major order, a few leading indices at a time."""
    itemsize = tensor.dtype.itemsize
    buffer = np.frombuffer(source.read(tensor.start, tensor.span), dtype=tensor.dtype.numpy)
    view = np.lib.stride_tricks.as_strided(
        buffer, tensor.shape, [stride * itemsize for stride in tensor.strides], writeable=False
    ).squeeze()
    rows = max(1, limits.block_bytes * len(view) // tensor.n_bytes)
    for first in range(0, len(view), rows):
        yield np.ascontiguousarray(view[first : first + rows])
