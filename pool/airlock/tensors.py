"""Where a tensor's numbers lie in a file, and which layouts are honest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pool.airlock.limits import Limits
from pool.airlock.refusals import refused

# Of any shape, its zeros counted as ones: beyond this, readers' 64-bit products overflow.
MAX_EXTENT = 2**48


@dataclass(frozen=True, slots=True)
class Dtype:
    """A number format: safetensors' name, bytes per number, numpy's code for its bytes.

    numpy knows no bfloat16 and trusts booleans, so both are read as unsigned integers.
    """

    name: str
    itemsize: int
    numpy: str


DTYPES: dict[str, Dtype] = {
    dtype.name: dtype
    for dtype in (
        Dtype("F64", 8, "<f8"),
        Dtype("F32", 4, "<f4"),
        Dtype("F16", 2, "<f2"),
        Dtype("BF16", 2, "<u2"),
        Dtype("I64", 8, "<i8"),
        Dtype("I32", 4, "<i4"),
        Dtype("I16", 2, "<i2"),
        Dtype("I8", 1, "|i1"),
        Dtype("U8", 1, "|u1"),
        Dtype("BOOL", 1, "|u1"),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A named tensor's place in the file.

    `start` is the byte position of its first element; `strides` count elements and are zero in
    dimensions of size one, so that equal layouts compare equal.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int

    @property
    def n_elements(self) -> int:
        """Product of the shape."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of the numbers themselves."""
        return self.n_elements * self.dtype.itemsize

    @property
    def span(self) -> int:
        """Bytes from the first element to the end of the last, gaps included."""
        if not self.n_elements:
            return 0
        last = sum((d - 1) * s for d, s in zip(self.shape, self.strides, strict=True))
        return (last + 1) * self.dtype.itemsize

    @property
    def is_row_major(self) -> bool:
        """Whether its bytes lie in the order in which they are to be written."""
        return self.n_elements == 0 or self.strides == row_major(self.shape)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a contiguous tensor; zero in dimensions of size one."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(0 if size == 1 else step)
        step *= size
    return tuple(reversed(strides))


def check_shape(name: str, shape: Sequence[object], limits: Limits) -> tuple[int, ...]:
    """Return the shape as integers.

    Raises:
        Refused: `too-many-dims` or `bad-shape`.
    """
    if len(shape) > limits.max_dims:
        raise refused("too-many-dims", name=name, limit=limits.max_dims)
    sizes = whole_numbers(shape)
    if sizes is None or math.prod(max(size, 1) for size in sizes) > MAX_EXTENT:
        raise refused("bad-shape", name=name)
    return sizes


def whole_numbers(values: object) -> tuple[int, ...] | None:
    """Return a sequence's non-negative integers; None where it holds anything else."""
    if not isinstance(values, list | tuple):
        return None
    numbers = tuple(value for value in values if type(value) is int and value >= 0)
    return numbers if len(numbers) == len(values) else None


def check_strides(name: str, shape: tuple[int, ...], strides: object) -> tuple[int, ...]:
    """Return strides (in elements) that give every index its own element.

    Sorted by stride, each dimension must step over all that the finer ones reach; this holds for
    every permuted or sliced dense tensor.

    Raises:
        Refused: `bad-shape` or `expanded-tensor`.
    """
    steps = whole_numbers(strides)
    if steps is None or len(steps) != len(shape):
        raise refused("bad-shape", name=name)
    if 0 in shape:
        return row_major(shape)
    reach = 0
    for step, size in sorted(zip(steps, shape, strict=True)):
        if size == 1:
            continue
        if step <= reach:
            raise refused("expanded-tensor", name=name)
        reach += step * (size - 1)
    return tuple(0 if size == 1 else step for step, size in zip(steps, shape, strict=True))
