"""Matching layers by order and shape, where names say nothing; only if nothing else is possible.

A sequence of shapes cannot tell two layers of one shape apart, so the order itself must be beyond
doubt: it is the file's own, and no numbering contradicts it; or numbers alone decide it.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ml.checkpoints.differences import readable
from ml.checkpoints.layers import Layer, name_parts


def match_in_order(expected: Sequence[Layer], found: Sequence[Layer]) -> Mapping[str, str] | None:
    """Path in the checkpoint -> path in the backbone, if both sequences of shapes are equal."""
    ours = [layer.signature() for layer in expected]
    if ours != [layer.signature() for layer in found]:
        return None
    return {one.path: other.path for one, other in zip(found, expected, strict=True)}


def doubts(expected: Sequence[Layer], found: Sequence[Layer], *, order_is_known: bool) -> list[str]:
    """Why a match by order cannot be trusted, as sentences; none if it can.

    Args:
        expected: the backbone's layers.
        found: the checkpoint's, matched to them one by one.
        order_is_known: whether found is in the order of the original file; else it is sorted by
            name.
    """
    sentences = _hidden_layer_sentences(expected, found)
    if order_is_known:
        return sentences + _shuffle_sentences(found)
    return sentences + _alphabet_sentences(found)


def _shuffle_sentences(found: Sequence[Layer]) -> list[str]:
    """Names that differ in numbers only must come in the order of these numbers."""
    latest: dict[tuple[str, ...], tuple[list[int], str]] = {}
    for layer in found:
        parts = name_parts(layer.path)
        text, numbers = tuple(parts[::2]), [int(number) for number in parts[1::2]]
        earlier, path = latest.get(text, ([], ""))
        if earlier > numbers:
            return [f"its order is in doubt: {readable(layer.path)} comes after {readable(path)}"]
        latest[text] = numbers, layer.path
    return []


def _alphabet_sentences(found: Sequence[Layer]) -> list[str]:
    """Layers of one shape may be told apart by a number, never by the alphabet."""
    latest: dict[tuple[tuple[str, tuple[int, ...]], ...], str] = {}
    for layer in found:
        path = latest.get(layer.signature())
        if path is not None and not _number_decides(path, layer.path):
            return [
                f"the file has lost the order of its layers, {readable(path)} and "
                f"{readable(layer.path)} have the same shapes, and no number says which is first"
            ]
        latest[layer.signature()] = layer.path
    return []


def _number_decides(one: str, other: str) -> bool:
    pairs = enumerate(zip(name_parts(one), name_parts(other), strict=False))
    return next((place % 2 == 1 for place, (a, b) in pairs if a != b), False)


def _hidden_layer_sentences(expected: Sequence[Layer], found: Sequence[Layer]) -> list[str]:
    """A convolution and its BatchNorm, numbered in one sequence, must be neighbours there.

    Otherwise something without weights, such as a ReLU, stands between them: another network.
    """
    for (ours, theirs), (our_next, their_next) in pairwise(zip(expected, found, strict=True)):
        if not (ours.is_convolution and our_next.is_batch_norm):
            continue
        front, _, place = theirs.path.rpartition(".")
        next_front, _, next_place = their_next.path.rpartition(".")
        numbered = place.isdecimal() and next_place.isdecimal() and len(place + next_place) < 9
        if numbered and front == next_front and int(next_place) - int(place) != 1:
            return [
                "its numbering says that a layer without weights stands between "
                f"{readable(theirs.path)} and {readable(their_next.path)}, where {ours.path} and "
                f"{our_next.path} are neighbours"
            ]
    return []
