"""Fit a foreign state dict to its backbone: by name, else by order and shape, else not at all."""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ml.checkpoints.contracts import Fitted, Manifest
from ml.checkpoints.differences import diagnose, find_linears, mismatch, readable
from ml.checkpoints.layers import (
    STEP_COUNT,
    Layer,
    expected_layers,
    join_name,
    layers_of,
    natural_order,
    shared_fronts,
)
from ml.checkpoints.naming import DIALECTS, Renaming
from ml.checkpoints.ordering import doubts, match_in_order
from ml.errors import CheckpointMismatch, NoBatchNorm

ALIAS = re.compile(r"(?P<front>(?:.*\.)?[0-9]+\.)trunk\.(?P<place>[01])")
ALIAS_OF = {"0": "C", "1": "BN"}
MAX_EXTRAS_NAMED = 5
MAX_SURPLUS = 4
"""How many times more layers than the backbone's are worth looking up by name: a copy or two, not
the hundred thousand names of a hostile file."""
ENCODER = "encoder."


def fit(
    tensors: Mapping[str, Tensor],
    manifest: Manifest,
    *,
    order: Sequence[str] | None,
    order_is_known: bool,
) -> Fitted:
    """Bring a state dict under the names of the backbone that its manifest declares.

    In turn: the backbone's own names; the names of published code (ml.checkpoints.naming); the
    order and shapes of the layers, if that leaves no choice. A missing step counter of a BatchNorm
    is filled in, anything else that is missing or left over is refused.

    Args:
        tensors: the state dict, in any floating dtype and layout.
        manifest: what its owner declares.
        order: the names in the order of the original file, if there was one.
        order_is_known: whether `order` is the order in which the network registered its layers.

    Raises:
        CheckpointMismatch: if the tensors do not fit, or fit in more than one way.
        NoBatchNorm: if there are no running statistics at all.
        UnknownBackbone, InvalidConfig: if the manifest names no possible network.
    """
    expected = expected_layers(manifest)
    known = order_is_known and order is not None and set(order) >= set(tensors)
    names = [n for n in order if n in tensors] if known and order else natural_order(tensors)
    found = without_aliases(layers_of(tensors, names), tensors)
    refuse_integer_weights(tensors, found)
    if not any(layer.is_batch_norm for layer in found):
        raise NoBatchNorm(
            "The checkpoint has no BatchNorm running statistics (running_mean, running_var), which "
            "inversion needs. What to do: upload a network trained with BatchNorm layers that "
            "track running statistics."
        )
    renaming = match_by_name(expected, found, manifest)
    if renaming is None:
        renaming = Renaming(in_order(expected, found, manifest, order_is_known=known))
    return Fitted(tensors=renamed(tensors, renaming.paths, expected), options=renaming.options)


def without_aliases(layers: Sequence[Layer], tensors: Mapping[str, Tensor]) -> list[Layer]:
    """Drop the second names of Conv4 blocks that were saved under two (`0.C`, `0.trunk.0`).

    Only where the contents agree; two different layers stay two.
    """
    by_path = {layer.path: layer for layer in layers}

    def is_alias(layer: Layer) -> bool:
        match = ALIAS.fullmatch(layer.path)
        original = by_path.get(match["front"] + ALIAS_OF[match["place"]]) if match else None
        return original is not None and all(
            leaf in original.shapes
            and torch.equal(
                tensors[join_name(layer.path, leaf)], tensors[join_name(original.path, leaf)]
            )
            for leaf in layer.shapes
        )

    return [layer for layer in layers if not is_alias(layer)]


def refuse_integer_weights(tensors: Mapping[str, Tensor], layers: Iterable[Layer]) -> None:
    """Refuse weights that are no real numbers, such as a quantised network's.

    Raises:
        CheckpointMismatch: naming the first one.
    """
    for layer in layers:
        for leaf in layer.shapes:
            name = join_name(layer.path, leaf)
            if not tensors[name].is_floating_point():
                kind = str(tensors[name].dtype).removeprefix("torch.")
                raise CheckpointMismatch(
                    f"The tensor {readable(name)} is {kind}; weights must be floating-point. "
                    "What to do: upload the network as it was before quantisation."
                )


def match_by_name(
    expected: Sequence[Layer], found: Sequence[Layer], manifest: Manifest
) -> Renaming | None:
    """The renaming of the first dialect that names every layer; None if none does.

    Raises:
        CheckpointMismatch: if the names fit but shapes do not, or if layers are left over.
    """
    if len(found) > MAX_SURPLUS * len(expected):
        return None
    for renaming in renamings(expected, found, manifest):
        targets = list(renaming.paths.values())
        if sorted(targets) != sorted(layer.path for layer in expected):
            continue
        by_target = {renaming.paths.get(layer.path, ""): layer for layer in found}
        aligned = [by_target[layer.path] for layer in expected]
        extra = [layer for layer in found if layer.path not in renaming.paths]
        reasons = extra_sentences(extra, manifest) + shape_sentences(expected, aligned, manifest)
        if reasons:
            raise mismatch(reasons, expected, [*aligned, *extra], manifest)
        return renaming
    return None


def renamings(
    expected: Sequence[Layer], found: Sequence[Layer], manifest: Manifest
) -> Iterable[Renaming]:
    """What each dialect makes of the checkpoint's paths, the backbone's exact names first."""
    paths = [layer.path for layer in found]
    ours = [layer.path for layer in expected]
    yield Renaming({path: path for path in paths if path in set(ours)})
    linears = find_linears(expected, found)
    bodies = [path for path in paths if path not in linears]
    our_bodies = [path.removeprefix(ENCODER) for path in ours if path.startswith(ENCODER)]
    for front in shared_fronts(bodies):
        stripped = [path.removeprefix(front) for path in bodies]
        for dialect in DIALECTS[manifest.backbone]:
            renaming = dialect(stripped, our_bodies)
            named = {front + path: ENCODER + target for path, target in renaming.paths.items()}
            yield Renaming({**named, **linears}, renaming.options)


def in_order(
    expected: Sequence[Layer],
    found: Sequence[Layer],
    manifest: Manifest,
    *,
    order_is_known: bool,
) -> Mapping[str, str]:
    """Match by order and shape alone.

    Raises:
        CheckpointMismatch: if the sequences differ, or if the order is in doubt.
    """
    paths = match_in_order(expected, found)
    if paths is None:
        reasons = diagnose(expected, found, manifest)
        reasons += ["neither the names nor the order and shapes of its layers match"]
        raise mismatch(reasons, expected, found, manifest)
    reasons = doubts(expected, found, order_is_known=order_is_known)
    if reasons:
        raise mismatch(reasons, expected, found, manifest)
    return paths


def extra_sentences(extra: Sequence[Layer], manifest: Manifest) -> list[str]:
    """Which tensors are no part of the backbone."""
    if not extra:
        return []
    names = [readable(join_name(layer.path, leaf)) for layer in extra for leaf in layer.shapes]
    more = f" and {len(names) - MAX_EXTRAS_NAMED} more" if len(names) > MAX_EXTRAS_NAMED else ""
    listed = ", ".join(names[:MAX_EXTRAS_NAMED])
    return [f"{listed}{more}: no part of {manifest.backbone}, so remove what the network ignores"]


def shape_sentences(
    expected: Sequence[Layer], aligned: Sequence[Layer], manifest: Manifest
) -> list[str]:
    """Where layers of the right names have other shapes."""
    for ours, theirs in zip(expected, aligned, strict=True):
        if flattened(theirs, ours).signature() != ours.signature():
            general = f"{readable(theirs.path)} differs from {ours.path}"
            return diagnose(expected, aligned, manifest) or [general]
    return []


def flattened(layer: Layer, target: Layer) -> Layer:
    """A 1x1 convolution as the linear layer it amounts to on pooled features, if that is wanted."""
    shape = layer.shapes.get("weight", ())
    if target.is_linear and len(shape) == 4 and shape[2:] == (1, 1):
        return Layer(layer.path, {**layer.shapes, "weight": shape[:2]})
    return layer


def renamed(
    tensors: Mapping[str, Tensor], paths: Mapping[str, str], expected: Sequence[Layer]
) -> dict[str, Tensor]:
    """The backbone's state dict, in its own order; shapes have been checked."""
    sources = {target: path for path, target in paths.items()}
    fitted: dict[str, Tensor] = {}
    for layer in expected:
        path = sources[layer.path]
        for leaf, shape in layer.shapes.items():
            fitted[join_name(layer.path, leaf)] = tensors[join_name(path, leaf)].reshape(shape)
        if layer.is_batch_norm:
            count = tensors.get(join_name(path, STEP_COUNT), torch.zeros((), dtype=torch.int64))
            fitted[join_name(layer.path, STEP_COUNT)] = count.reshape(())
    return fitted
