"""A safetensors file as a list of stored tensors: the header is checked before it is believed."""

import json
from typing import NoReturn

from pool.airlock.limits import Limits
from pool.airlock.names import RESERVED
from pool.airlock.refusals import refused
from pool.airlock.source import Source
from pool.airlock.tensors import DTYPES, StoredTensor, check_shape, row_major, whole_numbers

LENGTH_BYTES = 8
COMPLEX = ("C64", "C128")


class _Duplicate(ValueError):
    """A JSON object holds one key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def read_safetensors(source: Source, limits: Limits) -> list[StoredTensor]:
    """Return the file's tensors in the order of its header.

    Raises:
        Refused: The header or a tensor is not acceptable.
    """
    if source.size < LENGTH_BYTES:
        raise refused("truncated-file")
    length = int.from_bytes(source.read(0, LENGTH_BYTES), "little")
    if length > source.size - LENGTH_BYTES:
        raise refused("safetensors-header-length")
    if length > limits.max_header_bytes:
        raise refused("safetensors-header-too-large", limit=limits.max_header_bytes)
    header = _parse(source.read(LENGTH_BYTES, length))
    _check_metadata(header.pop(RESERVED, {}))
    if not header:
        raise refused("empty-state-dict")
    if len(header) > limits.max_tensors:
        raise refused("too-many-tensors", limit=limits.max_tensors)
    data_start = LENGTH_BYTES + length
    tensors = [_read_tensor(name, fields, data_start, limits) for name, fields in header.items()]
    _check_seamless(tensors, data_start, source.size)
    return tensors


def _parse(raw: bytes) -> dict[str, object]:
    try:
        header = json.loads(
            raw.decode(), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except _Duplicate as error:
        raise refused("safetensors-duplicate-key", name=error.key) from error
    except UnicodeDecodeError as error:
        raise refused("safetensors-header-invalid", detail="not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise refused("safetensors-header-invalid", detail="not JSON") from error
    if not isinstance(header, dict):
        raise refused("safetensors-header-invalid", detail="not an object")
    return header


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made: dict[str, object] = {}
    for key, value in pairs:
        if key in made:
            raise _Duplicate(key)
        made[key] = value
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise refused("safetensors-header-invalid", detail="metadata")


def _read_tensor(name: str, fields: object, data_start: int, limits: Limits) -> StoredTensor:
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise refused("safetensors-header-invalid", detail="entry")
    kind, offsets = fields["dtype"], whole_numbers(fields["data_offsets"])
    if kind in COMPLEX:
        raise refused("complex-tensor", name=name)
    if not isinstance(kind, str) or kind not in DTYPES:
        raise refused("unsupported-dtype", name=kind)
    if not isinstance(fields["shape"], list) or offsets is None or len(offsets) != 2:
        raise refused("safetensors-header-invalid", detail="entry")
    shape = check_shape(name, fields["shape"], limits)
    begin, end = offsets
    tensor = StoredTensor(
        name=name,
        dtype=DTYPES[kind],
        shape=shape,
        strides=row_major(shape),
        start=data_start + begin,
    )
    if tensor.n_bytes != end - begin:
        raise refused("safetensors-size-mismatch", name=name)
    return tensor


def _check_seamless(tensors: list[StoredTensor], start: int, file_size: int) -> None:
    """Each byte behind the header belongs to exactly one tensor."""
    position = start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.n_bytes)):
        if tensor.start != position:
            raise refused("safetensors-offsets", name=tensor.name)
        position += tensor.n_bytes
    if position != file_size:
        raise refused("safetensors-offsets", name="the end")
