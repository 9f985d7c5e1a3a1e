"""How published code names the layers of the networks on the allow-list.

A dialect reads module paths, without what all of them share in front, and says which layer of our
backbone each one is; paths it does not know are left out. Head and hidden linear layers are told
apart by shape before, since their names (fc, head, linear, logits, ...) vary most.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ml.errors import CheckpointMismatch

N_CONV4_BLOCKS = 4


@dataclass(frozen=True, slots=True)
class Renaming:
    """Which layer each path means, and in what else such networks differ from ours."""

    paths: Mapping[str, str]
    options: Mapping[str, float] = field(default_factory=dict)


Dialect = Callable[[Sequence[str], Sequence[str]], Renaming]
"""(the checkpoint's paths, our backbone's paths) -> renaming; both without their shared front."""


def same_names(paths: Sequence[str], ours: Sequence[str]) -> Renaming:
    """Our own names: torchvision's, which timm's ResNets share, and for Conv4 the pool's."""
    known = set(ours)
    return Renaming({path: path for path in paths if path in known})


CONV4_PARTS = {
    **dict.fromkeys(("conv", "Conv", "C", "0"), "conv"),
    **dict.fromkeys(("bn", "BN", "norm", "batchnorm", "batch_norm", "normalize", "1"), "bn"),
}
CONV4_BLOCK = re.compile(
    r"[A-Za-z_]*(?P<block>[0-9])\.(?:trunk\.|block\.|layers\.)?(?P<part>[A-Za-z_]+|[0-9])"
)
CONV4_FLAT = re.compile(r"(?P<part>conv|bn|BN|norm)_?(?P<block>[0-9])")


def conv4_blocks(paths: Sequence[str], _: Sequence[str]) -> Renaming:
    """Numbered blocks with a convolution and a BatchNorm, from 0 or from 1.

    `trunk.0.C`, `trunk.0.BN` (Chen et al. 2019 and the data-free meta-learning code after it),
    `encoder.0.0`, `encoder.0.1` (prototypical networks), `layer1.0`, `layer1.1` (relation
    networks), `features.layer1.norm` (torchmeta), `base.0.normalize` (learn2learn), `conv1`, `bn1`.
    """
    found = {}
    for path in paths:
        match = CONV4_BLOCK.fullmatch(path) or CONV4_FLAT.fullmatch(path)
        if match is not None and match["part"] in CONV4_PARTS:
            found[path] = (int(match["block"]), CONV4_PARTS[match["part"]])
    numbers = sorted({number for number, _ in found.values()})
    if len(numbers) != N_CONV4_BLOCKS or numbers[-1] - numbers[0] != N_CONV4_BLOCKS - 1:
        return Renaming({})
    return Renaming({p: f"{number - numbers[0]}.{part}" for p, (number, part) in found.items()})


RESNET_PART = re.compile(r"(?P<kind>conv|bn|C|BN)(?P<number>[1-3])")
RESNET_KINDS = {"conv": "conv", "C": "conv", "bn": "bn", "BN": "bn"}
RESNET_SHORTCUTS = {
    "shortcut": "downsample.0",
    "BNshortcut": "downsample.1",
    **{f"{name}.0": "downsample.0" for name in ("downsample", "shortcut", "skip")},
    **{f"{name}.1": "downsample.1" for name in ("downsample", "shortcut", "skip")},
}
RESNET_STAGE = re.compile(
    r"(?:layer|stage|block|group)_?(?P<stage>[1-4])\.(?:(?P<block>[0-9]+)\.)?"
)


def resnet_part(name: str) -> str | None:
    """A layer within a residual block under torchvision's name."""
    match = RESNET_PART.fullmatch(name)
    if match is not None:
        return RESNET_KINDS[match["kind"]] + match["number"]
    return RESNET_SHORTCUTS.get(name)


def resnet_stages(paths: Sequence[str], _: Sequence[str]) -> Renaming:
    """Stages called layer1 to layer4, with other names within the blocks.

    `layer1.0.shortcut.0` (the CIFAR ResNets), `layer1.0.C1`, `layer1.conv1` where a stage is one
    block.
    """
    found = {}
    for path in paths:
        stage = RESNET_STAGE.match(path)
        name = resnet_part(path[stage.end() :] if stage else path)
        if name is not None:
            front = f"layer{stage['stage']}.{stage['block'] or 0}." if stage else ""
            found[path] = front + name
    return Renaming(found)


TRUNK_BLOCK = re.compile(r"(?P<place>[0-9]{1,3})\.(?P<part>.+)")
AfterStem = Mapping[int, Mapping[str, float]]
"""How many weightless layers may follow a ResNet's stem -> the options which that means."""

SMALL_IMAGES: AfterStem = {0: {"stem_relu": 0.0}, 1: {}}
PHOTOGRAPHS: AfterStem = {2: {}}


def resnet_trunk(paths: Sequence[str], ours: Sequence[str], *, after_stem: AfterStem) -> Renaming:
    """One long sequence: `trunk.0` and `trunk.1` the stem, then `trunk.4.C1`, `trunk.4.BNshortcut`.

    Layers without weights take places too, so the place of the first block tells what follows the
    stem: ReLU and max-pool (Chen et al. 2019), a ReLU, or nothing (the ResNets of FREE and of the
    other published data-free meta-learning code, whose stem has no activation).

    Raises:
        CheckpointMismatch: if something else follows the stem than our backbone has there.
    """
    matches = {path: match for path in paths if (match := TRUNK_BLOCK.fullmatch(path))}
    parts = {path: resnet_part(match["part"]) for path, match in matches.items()}
    places = sorted({int(matches[path]["place"]) for path, part in parts.items() if part})
    blocks = list(dict.fromkeys(block_of(path) for path in ours if path.startswith("layer")))
    if not {"0", "1"} <= set(paths) or len(places) != len(blocks):
        return Renaming({})
    n_between = places[0] - 2
    if n_between not in after_stem:
        raise CheckpointMismatch(
            f"By the names there are {n_between} layers without weights between the stem and the "
            f"first block, this backbone has {' or '.join(map(str, after_stem))} there: the "
            "resnet10 and resnet18 here have no max-pool after the stem, torchvision's have one. "
            "What to do: name the other kind of ResNet in the manifest."
        )
    target = dict(zip(places, blocks, strict=True))
    renamed = {p: f"{target[int(matches[p]['place'])]}.{part}" for p, part in parts.items() if part}
    return Renaming({"0": "conv1", "1": "bn1", **renamed}, after_stem[n_between])


def block_of(path: str) -> str:
    """`layer2.0.conv1` -> `layer2.0`."""
    return ".".join(path.split(".")[:2])


TIMM_BLOCK = re.compile(r"blocks\.(?P<stage>[0-9])\.(?P<block>[0-9])\.(?P<part>.+)")
TIMM_STEM_AND_END = {
    "conv_stem": "features.0.0",
    "bn1": "features.0.1",
    "conv_head": "hidden",
}
TIMM_EXPANDED = ("conv_pw", "conv_dw", "se", "conv_pwl")
TIMM_SEPARABLE = ("conv_dw", "se", "conv_pw")


def timm_mobilenet(paths: Sequence[str], _: Sequence[str]) -> Renaming:
    """timm's `mobilenetv3_small_100`, whose BatchNorms have epsilon 1e-5 (torchvision: 1e-3)."""
    blocks: dict[tuple[int, int], list[str]] = {}
    for path in paths:
        match = TIMM_BLOCK.fullmatch(path)
        if match is not None:
            key = int(match["stage"]), int(match["block"])
            blocks.setdefault(key, []).append(match["part"])
    found = {path: TIMM_STEM_AND_END[path] for path in paths if path in TIMM_STEM_AND_END}
    for place, (stage, block) in enumerate(sorted(blocks), start=1):
        renamed = timm_block(blocks[stage, block], front=f"features.{place}")
        found |= {f"blocks.{stage}.{block}.{part}": name for part, name in renamed.items()}
    return Renaming(found, {"bn_eps": 1e-5})


def timm_block(parts: Sequence[str], *, front: str) -> Mapping[str, str]:
    """torchvision numbers the units of a block; timm names them and numbers their BatchNorms."""
    if "conv" in parts:
        return {"conv": f"{front}.0", "bn1": f"{front}.1"}
    kinds = TIMM_EXPANDED if "conv_pwl" in parts else TIMM_SEPARABLE
    present = [kind for kind in kinds if kind in parts or f"{kind}.conv_reduce" in parts]
    names, n_norms = {}, 0
    for unit, kind in enumerate(present):
        if kind == "se":
            names["se.conv_reduce"] = f"{front}.block.{unit}.fc1"
            names["se.conv_expand"] = f"{front}.block.{unit}.fc2"
        else:
            n_norms += 1
            names[kind] = f"{front}.block.{unit}.0"
            names[f"bn{n_norms}"] = f"{front}.block.{unit}.1"
    return names


CONV4 = (same_names, conv4_blocks)
FEW_SHOT_RESNET = (same_names, resnet_stages, partial(resnet_trunk, after_stem=SMALL_IMAGES))
TORCHVISION_RESNET = (same_names, resnet_stages, partial(resnet_trunk, after_stem=PHOTOGRAPHS))

DIALECTS: Mapping[str, Sequence[Dialect]] = {
    "conv4": CONV4,
    "conv4_64": CONV4,
    "resnet10": FEW_SHOT_RESNET,
    "resnet12": (same_names, resnet_stages),
    "resnet18": FEW_SHOT_RESNET,
    "torchvision_resnet18": TORCHVISION_RESNET,
    "torchvision_resnet34": TORCHVISION_RESNET,
    "torchvision_resnet50": TORCHVISION_RESNET,
    "mobilenet_v3_small": (same_names, timm_mobilenet),
}
