"""A few-shot classifier as an ONNX graph, written node by node.

torch.onnx would trace it, but cannot see how BatchNorm statistics come from the support set, takes
17 s where this takes none, and needs onnxscript; the operations are few (ml.portable.graph.KINDS).

Dims: S support images, Q queries, N ways, D features.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from ml.portable.graph import INPUT, Operation, Value, Weight
from ml.portable.script import EPS, norm_name

OPSET, IR_VERSION = 17, 9  # of 2022 and 2023: what runtimes of the last years read
SIMPLE = {
    "relu": "Relu",
    "hardswish": "HardSwish",
    "flatten": "Flatten",
    "add": "Add",
    "mul": "Mul",
    "adaptive_avg_pool2d": "GlobalAveragePool",
}
Norm = Callable[[Operation, str], str]
"""Writes a BatchNorm operation down, given the name of its input; returns that of its result."""


class Graph:
    """Nodes and constants as they are written."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Begin with no node; tensors are taken in when a node names them."""
        self.nodes: list[onnx.NodeProto] = []
        self._tensors, self._taken = tensors, dict[str, onnx.TensorProto]()
        self._count = 0

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one result, whose name is returned."""
        self._count += 1
        result = f"{kind.lower()}_{self._count}"
        self.nodes.append(helper.make_node(kind, inputs, [result], **attributes))
        return result

    def weight(self, name: str) -> str:
        """One of the network's tensors."""
        if name not in self._taken:
            values = self._tensors[name].detach().cpu().contiguous().numpy()
            self._taken[name] = numpy_helper.from_array(values, name)
        return name

    def constant(self, values: Any, kind: type[Any] = np.float32) -> str:
        """A number, or a list of them."""
        name = f"constant_{len(self._taken)}"
        self._taken[name] = numpy_helper.from_array(np.asarray(values, dtype=kind), name)
        return name

    def model(self, inputs: Sequence[onnx.ValueInfoProto], *, result: str, about: str) -> bytes:
        """The file, checked by ONNX's own checker; `probabilities` is its only output."""
        self.nodes.append(helper.make_node("Identity", [result], ["probabilities"]))
        output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["Q", "N"])
        graph = helper.make_graph(
            self.nodes, "few_shot_classifier", inputs, [output], list(self._taken.values())
        )
        model = helper.make_model(
            graph,
            producer_name="modelpool",
            doc_string=about,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def write_encoder(graph: Graph, operations: Sequence[Operation], images: str, norm: Norm) -> str:
    """Write a network down; the name of its answer."""
    known = {INPUT: images}

    def name_of(argument: Value | Weight | None) -> str:
        if argument is None:
            return ""
        return known[argument.name] if isinstance(argument, Value) else graph.weight(argument.name)

    for operation in operations:
        if operation.kind == "batch_norm":
            known[operation.result] = norm(operation, name_of(operation.arguments[0]))
        else:
            known[operation.result] = _write(graph, operation, name_of)
    return known[operations[-1].result]


def _write(graph: Graph, operation: Operation, name_of: Callable[[Any], str]) -> str:
    arguments = operation.arguments
    match operation.kind:
        case "conv2d":
            stride, padding, dilation = (
                _pair(arguments, place, default) for place, default in ((3, 1), (4, 0), (5, 1))
            )
            groups = arguments[6] if len(arguments) > 6 else 1
            names = [name_of(each) for each in arguments[:3] if each is not None]
            return graph.add(
                "Conv", *names, strides=stride, pads=padding * 2, dilations=dilation, group=groups
            )
        case "max_pool2d":
            kernel = _pair(arguments, 1, 1)
            return graph.add(
                "MaxPool",
                name_of(arguments[0]),
                kernel_shape=kernel,
                strides=_pair(arguments, 2, 0) if arguments[2:3] and arguments[2] else kernel,
                pads=_pair(arguments, 3, 0) * 2,
            )
        case "leaky_relu":
            return graph.add("LeakyRelu", name_of(arguments[0]), alpha=float(arguments[1]))
        case "hardsigmoid":
            return graph.add("HardSigmoid", name_of(arguments[0]), alpha=1 / 6, beta=0.5)
        case "mean":
            return graph.add("ReduceMean", name_of(arguments[0]), axes=arguments[1], keepdims=0)
        case "linear":
            return graph.add("Gemm", *map(name_of, arguments), transB=1)
    inputs = [name_of(each) for each in arguments if isinstance(each, Value)]
    return graph.add(SIMPLE[operation.kind], *inputs)


def _pair(arguments: Sequence[Any], place: int, default: int) -> list[int]:
    given = arguments[place] if len(arguments) > place else [default]
    given = list(given) if isinstance(given, (list, tuple)) else [given]
    return given * 2 if len(given) == 1 else given


# How BatchNorm is written.


def remembered(graph: Graph) -> Norm:
    """By the statistics in the file."""

    def write(operation: Operation, images: str) -> str:
        name = norm_name(operation)
        parts = [
            graph.weight(f"{name}.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")
        ]
        return graph.add("BatchNormalization", images, *parts, epsilon=operation.arguments[EPS])

    return write


def measuring(graph: Graph, count: str, seen: dict[str, tuple[str, str]]) -> Norm:
    """By the statistics of the batch, which are noted: mean and unbiased variance, (1, C, 1, 1).

    Args:
        graph: to write to.
        count: name of the number of images, a float.
        seen: filled, by the layers' names.
    """

    def write(operation: Operation, images: str) -> str:
        mean = graph.add("ReduceMean", images, axes=[0, 2, 3], keepdims=1)
        away = graph.add("Sub", images, mean)
        variance = graph.add("ReduceMean", graph.add("Mul", away, away), axes=[0, 2, 3], keepdims=1)
        assert operation.side is not None
        values = graph.add("Mul", count, graph.constant(operation.side**2))
        fewer = graph.add("Sub", values, graph.constant(1))
        unbiased = graph.add("Mul", variance, graph.add("Div", values, fewer))
        seen[norm_name(operation)] = mean, unbiased
        return _normalised(graph, operation, away, variance)

    return write


def blending(graph: Graph, share: str, seen: Mapping[str, tuple[str, str]]) -> Norm:
    """By what was noted and what the file remembers, `share` to 1 - `share`."""

    def write(operation: Operation, images: str) -> str:
        name = norm_name(operation)
        mean, variance = (
            _lerp(graph, _upright(graph, f"{name}.{part}"), found, share)
            for part, found in zip(("running_mean", "running_var"), seen[name], strict=True)
        )
        return _normalised(graph, operation, graph.add("Sub", images, mean), variance)

    return write


def _normalised(graph: Graph, operation: Operation, away: str, variance: str) -> str:
    name = norm_name(operation)
    padded = graph.add("Add", variance, graph.constant(operation.arguments[EPS]))
    unit = graph.add("Div", away, graph.add("Sqrt", padded))
    scaled = graph.add("Mul", unit, _upright(graph, f"{name}.weight"))
    return graph.add("Add", scaled, _upright(graph, f"{name}.bias"))


def _upright(graph: Graph, name: str) -> str:
    """A tensor of C numbers as (1, C, 1, 1)."""
    return graph.add("Reshape", graph.weight(name), graph.constant([1, -1, 1, 1], np.int64))


def _lerp(graph: Graph, start: str, end: str, share: str) -> str:
    return graph.add("Add", start, graph.add("Mul", share, graph.add("Sub", end, start)))
