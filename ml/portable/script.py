"""predict.py: the runtime's text with a network written into it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml.errors import NotPortable
from ml.portable.graph import Operation, Value, Weight

PLACE = "#: the network\n"
RUNTIME = Path(__file__).with_name("predict.py.txt")
CALLS = {
    "conv2d": "F.conv2d",
    "relu": "F.relu",
    "leaky_relu": "F.leaky_relu",
    "hardswish": "F.hardswish",
    "hardsigmoid": "F.hardsigmoid",
    "max_pool2d": "F.max_pool2d",
    "adaptive_avg_pool2d": "F.adaptive_avg_pool2d",
    "mean": "torch.mean",
    "flatten": "torch.flatten",
    "linear": "F.linear",
    "add": "torch.add",
    "mul": "torch.mul",
}
WEIGHT, MEAN, EPS = 1, 3, 7  # of batch_norm's arguments in ATen


def script(operations: Sequence[Operation]) -> str:
    """The text of a program that needs torch alone.

    Args:
        operations: of the encoder, with the names that its tensors have in the file.
    """
    before, after = RUNTIME.read_text(encoding="utf-8").split(PLACE)
    return before + encoder_source(operations) + after


def encoder_source(operations: Sequence[Operation]) -> str:
    """`def encode(images, t, ...)`: the network, one line an operation."""
    lines = [f"    {each.result} = {_call(each)}" for each in operations]
    head = (
        "def encode(images, t, norms=None, seen=None):\n"
        '    """The network, step by step; t has its tensors."""\n'
    )
    return head + "\n".join(lines) + f"\n    return {operations[-1].result}\n"


def _call(operation: Operation) -> str:
    if operation.kind == "batch_norm":
        images, eps = _written(operation.arguments[0]), operation.arguments[EPS]
        return f"norm({images}, t, {norm_name(operation)!r}, {eps!r}, norms, seen)"
    return f"{CALLS[operation.kind]}({', '.join(map(_written, operation.arguments))})"


def norm_name(operation: Operation) -> str:
    """The common part of the names of a BatchNorm layer's tensors.

    Raises:
        NotPortable: if it has no weights, or remembers no statistics.
    """
    parts = operation.arguments[WEIGHT : MEAN + 2]
    if not all(isinstance(part, Weight) for part in parts):
        raise NotPortable("the network has BatchNorm layers without weights or statistics")
    return str(parts[0].name).removesuffix(".weight")


def _written(argument: Any) -> str:
    if isinstance(argument, Weight):
        return f"t[{argument.name!r}]"
    if isinstance(argument, Value):
        return argument.name
    return repr(argument)
