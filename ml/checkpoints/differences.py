"""Why a checkpoint does not fit, said so that its owner can repair it."""

from collections.abc import Mapping, Sequence

from ml.checkpoints.contracts import Manifest
from ml.checkpoints.layers import Layer, join_name
from ml.errors import CheckpointMismatch

MAX_ROWS = 40
ROWS_BEFORE_DIFFERENCE = 5
MAX_NAME = 60
USUAL_LEAVES = ("weight", "bias", "running_mean", "running_var")
ADVICE = (
    "What to do: upload the state dict of exactly this network, with its own names or the "
    "backbone's; or correct the manifest. A .pt file of a state dict also keeps the order of the "
    "layers, which a .safetensors file loses."
)

Row = tuple[str, tuple[int, ...], str]
"""Leaf, shape, and the full name."""


def mismatch(
    reasons: Sequence[str], expected: Sequence[Layer], found: Sequence[Layer], manifest: Manifest
) -> CheckpointMismatch:
    """A refusal: the reasons, both lists side by side, the first difference, what to do.

    Args:
        reasons: sentences without a full stop, the most specific first.
        expected: the backbone's layers.
        found: the checkpoint's layers, in the order in which they are best compared.
        manifest: what was declared.
    """
    ours, theirs = _rows(expected), _rows(found)
    length = max(len(ours), len(theirs))
    differs = next((i for i in range(length) if _differ(ours, theirs, i)), None)
    where = "" if differs is None else f"\nRow {differs + 1} is the first that differs (>)."
    lines = [f"The checkpoint does not fit {manifest.describe()}: {'; '.join(reasons)}.{where}"]
    lines += _table(ours, theirs, differs, manifest.backbone)
    return CheckpointMismatch("\n".join([*lines, ADVICE]))


def _rows(layers: Sequence[Layer]) -> list[Row]:
    return [
        (leaf, layer.shapes[leaf], join_name(layer.path, leaf))
        for layer in layers
        for leaf in sorted(layer.shapes, key=_usual_place)
    ]


def _usual_place(leaf: str) -> tuple[int, str]:
    return (USUAL_LEAVES.index(leaf) if leaf in USUAL_LEAVES else len(USUAL_LEAVES), leaf)


def _differ(ours: Sequence[Row], theirs: Sequence[Row], index: int) -> bool:
    if index >= len(ours) or index >= len(theirs):
        return True
    return ours[index][:2] != theirs[index][:2]


def _table(
    ours: Sequence[Row], theirs: Sequence[Row], differs: int | None, backbone: str
) -> list[str]:
    length = max(len(ours), len(theirs))
    start = max(0, min((differs or 0) - ROWS_BEFORE_DIFFERENCE, length - MAX_ROWS))
    shown = range(start, min(length, start + MAX_ROWS))
    left = [f"{backbone} has", *(_cell(ours, i) for i in shown)]
    right = ["the checkpoint has", *(_cell(theirs, i) for i in shown)]
    width = max(map(len, left))
    marks = ["  ", *("> " if i == differs else "  " for i in shown)]
    lines = [
        f"{mark}{one:<{width}} | {other}".rstrip()
        for mark, one, other in zip(marks, left, right, strict=True)
    ]
    if start:
        lines.insert(1, f"  ... {start} more above")
    if shown.stop < length:
        lines.append(f"  ... {length - shown.stop} more")
    return lines


def _cell(rows: Sequence[Row], index: int) -> str:
    if index >= len(rows):
        return "-"
    _, shape, name = rows[index]
    return f"{readable(name)} {'x'.join(map(str, shape)) or 'scalar'}"


def readable(name: str) -> str:
    """A client's tensor name on one line of bounded length."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name[:MAX_NAME])
    return printable if len(name) <= MAX_NAME else f"{printable}..."


def diagnose(expected: Sequence[Layer], found: Sequence[Layer], manifest: Manifest) -> list[str]:
    """What specifically contradicts the manifest, as far as shapes alone can tell."""
    sentences = [*_head_sentences(expected, found, manifest)]
    channels = _stem_channels(expected, found, manifest)
    if channels is not None:
        sentences.append(
            f"its first convolution takes images of {channels} channels, "
            f"the manifest says {manifest.channels}"
        )
    return sentences


def _head_sentences(
    expected: Sequence[Layer], found: Sequence[Layer], manifest: Manifest
) -> list[str]:
    heads = find_linears(expected, found)
    path = next((path for path, target in heads.items() if target == "classifier"), None)
    if path is None:
        return ["no linear layer in it can be the head, which maps features to classes"]
    head = next(layer for layer in found if layer.path == path)
    wanted = expected[-1].shapes["weight"]
    (outputs, inputs), sentences = head.shapes["weight"], []
    if outputs != wanted[0]:
        sentences.append(f"the head has {outputs} outputs, the manifest names {wanted[0]} classes")
    if inputs != wanted[1]:
        sentences.append(
            f"the head takes {inputs} inputs, {manifest.backbone} makes {wanted[1]} features of "
            f"{manifest.image_size} pixels: check image_size and backbone in the manifest"
        )
    if "bias" not in head.shapes:
        sentences.append(f"the head ({readable(path)}) has no bias; add one of zeros if that is so")
    return sentences


def _stem_channels(
    expected: Sequence[Layer], found: Sequence[Layer], manifest: Manifest
) -> int | None:
    """How many channels the checkpoint's images had, if not as many as declared.

    Depthwise convolutions also take one channel, so shapes are counted, not just looked for.
    """
    stem = next(layer for layer in expected if layer.is_convolution).shapes["weight"]
    other = 4 - manifest.channels
    other_stem = (stem[0], other, *stem[2:])

    def surplus(shape: tuple[int, ...]) -> int:
        counts = [sum(one.shapes.get("weight") == shape for one in x) for x in (found, expected)]
        return counts[0] - counts[1]

    return other if surplus(stem) < 0 < surplus(other_stem) else None


def find_linears(expected: Sequence[Layer], found: Sequence[Layer]) -> Mapping[str, str]:
    """Tell a network's few linear layers apart by their inputs, whatever they are called.

    Returns:
        Path in the checkpoint -> path in the backbone; a lone linear layer is always the head.
        Empty where it is not clear which is which.
    """
    linears = [layer for layer in found if layer.is_linear]
    if len(linears) == 1:
        return {linears[0].path: expected[-1].path}
    targets = {layer.shapes["weight"][1]: layer.path for layer in expected if layer.is_linear}
    named = {
        layer.path: targets[layer.shapes["weight"][1]]
        for layer in linears
        if layer.shapes["weight"][1] in targets
    }
    unique = len(set(named.values())) == len(named) == len(linears)
    return named if unique else {}
