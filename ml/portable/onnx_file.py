"""Meta-learners and adaptations as ONNX files.

Dims: S support images, Q queries, N ways, D features.
"""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

from ml.fewshot import PRIOR_IMAGES
from ml.portable.graph import Operation
from ml.portable.learner import Portable
from ml.portable.onnx_graph import (
    Graph,
    blending,
    measuring,
    remembered,
    write_encoder,
)

NOTE = (
    "images: float32 in [0, 1], {channels} x {side} x {side}, resized with antialiasing. "
    "Output: the probability of each class."
)


def to_onnx(portable: Portable, operations: Sequence[Operation]) -> bytes:
    """One file; an adaptation takes `queries`, a meta-learner `support` and `labels` as well.

    Args:
        portable: what to write.
        operations: its encoder's.
    """
    graph = Graph(portable.tensors)
    side, channels = portable.image_size, portable.channels
    about = NOTE.format(channels=channels, side=side)
    shape = [channels, side, side]
    queries = helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["Q", *shape])
    if portable.class_names is not None:
        unit = _unit(graph, portable, operations, _normalise(graph, portable, "queries"))
        return graph.model([queries], result=_answers(graph, portable, unit, None), about=about)
    support = helper.make_tensor_value_info("support", TensorProto.FLOAT, ["S", *shape])
    labels = helper.make_tensor_value_info("labels", TensorProto.INT64, ["S"])
    result = _adapt_and_answer(graph, portable, operations)
    return graph.model([support, labels, queries], result=result, about=about)


def _adapt_and_answer(graph: Graph, portable: Portable, operations: Sequence[Operation]) -> str:
    support, queries = (_normalise(graph, portable, name) for name in ("support", "queries"))
    norm = remembered(graph)
    if portable.batch_statistics != "running":
        shape = graph.add("Shape", "support", start=0, end=1)
        count = graph.add("Cast", shape, to=TensorProto.FLOAT)
        seen: dict[str, tuple[str, str]] = {}
        write_encoder(graph, operations, support, measuring(graph, count, seen))
        prior = 0 if portable.batch_statistics == "support" else PRIOR_IMAGES
        total = graph.add("Add", count, graph.constant(prior))
        norm = blending(graph, graph.add("Div", count, total), seen)
    features_SD = _project(graph, portable, write_encoder(graph, operations, support, norm))
    features_QD = _project(graph, portable, write_encoder(graph, operations, queries, norm))
    means_NS = _mean_weights(graph)
    if portable.centred:
        means_ND = graph.add("MatMul", means_NS, features_SD)
        centre = graph.add("ReduceMean", means_ND, axes=[0], keepdims=1)
        features_SD, features_QD = (
            graph.add("Sub", features, centre) for features in (features_SD, features_QD)
        )
    prototypes_ND = graph.add("MatMul", means_NS, _directions(graph, features_SD))
    return _answers(graph, portable, _directions(graph, features_QD), prototypes_ND)


def _mean_weights(graph: Graph) -> str:
    """(N, S): a row averages the images of its class."""
    most = graph.add("ReduceMax", "labels", axes=[0], keepdims=1)
    ways = graph.add("Add", most, graph.constant([1], np.int64))
    one_hot_SN = graph.add("OneHot", "labels", ways, graph.constant([0.0, 1.0]), axis=1)
    counts = graph.add("ReduceSum", one_hot_SN, graph.constant([0], np.int64), keepdims=1)
    return graph.add("Transpose", graph.add("Div", one_hot_SN, counts), perm=[1, 0])


def _unit(graph: Graph, portable: Portable, operations: Sequence[Operation], images: str) -> str:
    features = write_encoder(graph, operations, images, remembered(graph))
    projected = _project(graph, portable, features)
    return _directions(graph, graph.add("Sub", projected, graph.weight("centre")))


def _answers(graph: Graph, portable: Portable, unit_QD: str, prototypes_ND: str | None) -> str:
    """Softmax of (2 q.p - |p|^2 - |q|^2) / 2 / spread / temperature."""
    if prototypes_ND is None:
        prototypes_ND, spread = graph.weight("prototypes"), graph.weight("spread")
    else:
        lengths = _sum_of_squares(graph, prototypes_ND)
        mean = graph.add("ReduceMean", lengths, axes=[0, 1], keepdims=0)
        spread = graph.add("Max", mean, graph.constant(1e-6))
    cross = graph.add("MatMul", unit_QD, graph.add("Transpose", prototypes_ND, perm=[1, 0]))
    norms_1N = graph.add("Transpose", _sum_of_squares(graph, prototypes_ND), perm=[1, 0])
    twice = graph.add("Mul", cross, graph.constant(2))
    near = graph.add("Sub", twice, norms_1N)
    scale = graph.add("Mul", spread, graph.constant(2 * portable.temperature))
    # Without |q|^2, which is the same for all classes and so nothing to a softmax.
    return graph.add("Softmax", graph.add("Div", near, scale), axis=1)


def _sum_of_squares(graph: Graph, rows: str) -> str:
    """(rows, 1)."""
    squares = graph.add("Mul", rows, rows)
    return graph.add("ReduceSum", squares, graph.constant([1], np.int64), keepdims=1)


def _directions(graph: Graph, features: str) -> str:
    length = graph.add("ReduceL2", features, axes=[1], keepdims=1)
    return graph.add("Div", features, graph.add("Max", length, graph.constant(1e-12)))


def _project(graph: Graph, portable: Portable, features: str) -> str:
    hidden = _linear(graph, portable, features, "projection_hidden")
    if hidden != features:
        hidden = graph.add("Relu", hidden)
    return _linear(graph, portable, hidden, "projection")


def _linear(graph: Graph, portable: Portable, features: str, name: str) -> str:
    """A linear map of that name, with its offset; the features where there is none."""
    if name not in portable.tensors:
        return features
    axes = graph.add("Transpose", graph.weight(name), perm=[1, 0])
    placed = graph.add("MatMul", features, axes)
    offset = f"{name}_offset"
    return graph.add("Add", placed, graph.weight(offset)) if offset in portable.tensors else placed


def _normalise(graph: Graph, portable: Portable, images: str) -> str:
    mean, std = (_per_channel(graph, values) for values in (portable.mean, portable.std))
    return graph.add("Div", graph.add("Sub", images, mean), std)


def _per_channel(graph: Graph, values: Sequence[float]) -> str:
    return graph.constant(np.asarray(values, dtype=np.float32).reshape(1, -1, 1, 1))
