"""A network as a list of operations, to be written down in another language.

The backbones of the allow-list use some dozen operations of torch's ATen; what they are made of in
Python does not matter. A network that uses another one is not portable.
"""

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from ml.errors import NotPortable

KINDS = frozenset(
    {
        "conv2d",
        "batch_norm",
        "relu",
        "leaky_relu",
        "hardswish",
        "hardsigmoid",
        "max_pool2d",
        "adaptive_avg_pool2d",
        "mean",
        "flatten",
        "linear",
        "add",
        "mul",
    }
)
INPUT = "images"


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor of the network, by its name there."""

    name: str


@dataclass(frozen=True, slots=True)
class Value:
    """What an operation gave, or the input."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One step."""

    kind: str
    result: str
    arguments: tuple[Any, ...]
    """Values, weights, None, numbers and lists of them, in ATen's order."""
    side: int | None
    """Of the feature maps it gives, in pixels; None where it gives vectors."""


def operations(
    network: nn.Module, *, channels: int, image_size: int, prefix: str = ""
) -> tuple[Operation, ...]:
    """What a frozen network does to images, step by step; the last result is its answer.

    Args:
        network: in eval mode.
        channels: of its input.
        image_size: side of its input.
        prefix: put before the names of its tensors.

    Raises:
        NotPortable: if it does something that cannot be written down.
    """
    weights = dict(network.state_dict())
    names = list(weights)

    def run(tensors: list[Tensor], images: Tensor) -> Any:
        return functional_call(network, dict(zip(names, tensors, strict=True)), (images,))

    example = torch.zeros(2, channels, image_size, image_size)
    tensors = [tensor.cpu() for tensor in weights.values()]
    with torch.no_grad():
        graph = make_fx(run, pre_dispatch=True)(tensors, example).graph
    nodes = list(graph.nodes)
    arguments = [node for node in nodes if node.op == "placeholder"]
    known: dict[fx.Node, Weight | Value] = {
        node: Weight(prefix + name) for node, name in zip(arguments, names, strict=False)
    }
    known[arguments[len(names)]] = Value(INPUT)
    return tuple(_operations(nodes, known))


def _operations(nodes: list[fx.Node], known: dict[fx.Node, Weight | Value]) -> Iterator[Operation]:
    for node in nodes:
        if node.op == "call_function":
            kind, result = _kind(node), f"x{len(known)}"
            known[node] = Value(result)
            shape = node.meta["val"].shape
            yield Operation(
                kind=kind,
                result=result,
                arguments=tuple(_plain(each, known) for each in node.args),
                side=int(shape[-1]) if len(shape) == 4 else None,
            )
        elif node.op not in ("placeholder", "output"):
            raise NotPortable(f"the network does {node.op}, which cannot be written down")


def _kind(node: fx.Node) -> str:
    """The operation's name, without the underscore of those that work in place.

    A tensor that was written over is known to the trace by the latest operation on it, so that the
    same operations without writing over come to the same.
    """
    packet = str(getattr(node.target, "overloadpacket", node.target)).removeprefix("aten.")
    kind = packet.rstrip("_")
    if kind not in KINDS or node.kwargs:
        raise NotPortable(f"the network uses {packet}, which cannot be written down")
    return kind


def _plain(argument: Any, known: Mapping[fx.Node, Weight | Value]) -> Any:
    if isinstance(argument, fx.Node):
        return known[argument]
    if isinstance(argument, (list, tuple)):
        return [_plain(each, known) for each in argument]
    if argument is None or isinstance(argument, (bool, int, float)):
        return argument
    return operator.index(argument)
