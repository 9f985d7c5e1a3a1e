"""Numbers no honest checkpoint holds: NaN, infinity, negative variances."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pool.airlock.refusals import refused
from pool.airlock.tensors import StoredTensor

Array = npt.NDArray[Any]

BF16_EXPONENT = 0x7F80  # all ones: infinity or NaN
BF16_SIGN = 0x8000
RUNNING_VARIANCE = "running_var"


def check_values(tensor: StoredTensor, numbers: Array) -> None:
    """Check a block of a tensor's numbers, in the numpy type of its dtype.

    Raises:
        Refused: `non-finite-weights`, `negative-variance` or `bad-boolean`.
    """
    kind = tensor.dtype.name
    if kind == "BOOL":
        if numbers.size and numbers.max() > 1:
            raise refused("bad-boolean", name=tensor.name)
        return
    is_finite, is_negative = _TESTS.get(kind, (_always_finite, _is_negative))
    if not is_finite(numbers):
        raise refused("non-finite-weights", name=tensor.name)
    if tensor.name.endswith(RUNNING_VARIANCE) and is_negative(numbers):
        raise refused("negative-variance", name=tensor.name)


def _always_finite(_: Array) -> bool:
    return True


def _is_finite(numbers: Array) -> bool:
    return bool(np.isfinite(numbers).all())


def _is_negative(numbers: Array) -> bool:
    return bool((numbers < 0).any())


def _is_finite_bf16(bits: Array) -> bool:
    return bool(((bits & BF16_EXPONENT) != BF16_EXPONENT).all())


def _is_negative_bf16(bits: Array) -> bool:
    return bool((bits > BF16_SIGN).any())  # the sign bit alone is minus zero


_TESTS: dict[str, tuple[Callable[[Array], bool], Callable[[Array], bool]]] = {
    "F64": (_is_finite, _is_negative),
    "F32": (_is_finite, _is_negative),
    "F16": (_is_finite, _is_negative),
    "BF16": (_is_finite_bf16, _is_negative_bf16),
}
