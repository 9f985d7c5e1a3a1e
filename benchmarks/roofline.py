"""What a computation must cost at least: its operations and bytes against the machine's rates.

Operations are those of matrix products and convolutions. Bytes are what every tensor operation
reads and writes, as if each went to memory: an upper bound of the traffic, since caches serve some.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

MATRIX, COPIED = 2048, 1 << 27  # side of the matrices, bytes of the copy that rates are measured on
REPEATS = 5
VIEWS = frozenset(
    {
        *("alias", "as_strided", "detach", "expand", "permute", "reshape", "select", "slice"),
        *("split", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view", "_unsafe_view"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one call."""

    operations: int
    bytes_moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the machine reaches on its best day."""

    operations_per_s: float
    bytes_per_s: float

    def least_seconds(self, cost: Cost) -> float:
        """Below this no program with these operations and this traffic can be."""
        return max(cost.operations / self.operations_per_s, cost.bytes_moved / self.bytes_per_s)


class TrafficCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    """Counts the bytes of every operation's inputs and outputs; views move nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes_moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count."""
        del types
        answer = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ not in VIEWS:
            touched = [*tree_leaves(args), *tree_leaves(kwargs or {}), *tree_leaves(answer)]
            self.bytes_moved += sum(
                each.numel() * each.element_size() for each in touched if isinstance(each, Tensor)
            )
        return answer


def cost_of(work: Callable[[], object]) -> Cost:
    """Operations and bytes of a call."""
    with FlopCounterMode(display=False) as flops:
        work()
    with TrafficCounter() as traffic:
        work()
    return Cost(operations=flops.get_total_flops(), bytes_moved=traffic.bytes_moved)


def measured_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Best of a few matrix products, and of a few copies."""
    matrix = torch.ones(MATRIX, MATRIX, device=device, dtype=dtype)
    source = torch.ones(COPIED, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    product_s = fastest(lambda: matrix @ matrix, device)
    copy_s = fastest(lambda: target.copy_(source), device)
    return Rates(operations_per_s=2 * MATRIX**3 / product_s, bytes_per_s=2 * COPIED / copy_s)


def fastest(work: Callable[[], object], device: torch.device) -> float:
    """Least wall seconds of a few calls."""
    return min(seconds_of(work, device) for _ in range(REPEATS))


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of one call, to the end of what it put on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
