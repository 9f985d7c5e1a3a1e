"""Checkpoints with unknown names: matched by order where that leaves no choice, else refused."""

import re

import pytest
import torch
from torch import nn

from ml.backbones import BACKBONES, build
from ml.checkpoints import Manifest, fit
from ml.errors import CheckpointMismatch, NoBatchNorm


def manifest(backbone="conv4", *, n_classes=5, channels=3, image_size=32):
    return Manifest(
        backbone=backbone,
        class_names=tuple(f"class {i}" for i in range(n_classes)),
        image_size=image_size,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )


def conv4_state(randomize):
    return randomize(build("conv4", n_classes=5, channels=3, image_size=32)).state_dict()


def with_paths(state, paths):
    """The state dict with its module paths replaced, in the order in which they appear."""
    ours = dict.fromkeys(name.rpartition(".")[0] for name in state)
    target = dict(zip(ours, paths, strict=True))
    return {
        f"{target[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": tensor
        for name, tensor in state.items()
    }


SEQUENTIAL = ["f.0", "f.1", "f.4", "f.5", "f.8", "f.9", "f.12", "f.13", "head"]
UNNUMBERED = ["ca", "na", "cb", "nb", "cc", "nc", "cd", "nd", "out"]


def assert_same(fitted, state):
    assert list(fitted.tensors) == list(state)
    assert all(torch.equal(fitted.tensors[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize("name", BACKBONES)
def test_any_names_fit_in_the_order_of_the_file(name, randomize):
    state = randomize(build(name, n_classes=5, channels=3, image_size=32)).state_dict()
    n_layers = len({key.rpartition(".")[0] for key in state})
    foreign = with_paths(state, [f"part{i}" for i in range(n_layers)])
    assert_same(fit(foreign, manifest(name), order=list(foreign), order_is_known=True), state)


def test_a_sequence_numbered_beyond_ten_fits_without_the_files_order(randomize):
    """Sorted as text, f.12 would come before f.4."""
    state = conv4_state(randomize)
    foreign = dict(sorted(with_paths(state, SEQUENTIAL).items()))
    assert_same(fit(foreign, manifest(), order=None, order_is_known=False), state)
    lexical = list(foreign)
    assert_same(fit(foreign, manifest(), order=lexical, order_is_known=False), state)


def test_an_incomplete_order_counts_as_unknown(randomize):
    state = conv4_state(randomize)
    foreign = with_paths(state, SEQUENTIAL)
    assert_same(fit(foreign, manifest(), order=["head.weight"], order_is_known=True), state)


def test_a_known_order_is_trusted_where_the_names_do_not_speak(randomize):
    state = conv4_state(randomize)
    foreign = with_paths(state, UNNUMBERED)
    assert_same(fit(foreign, manifest(), order=list(foreign), order_is_known=True), state)


def test_unnumbered_names_are_refused_where_the_order_is_lost(randomize):
    """Sorted by name the shapes fit, but only the alphabet says which block comes first."""
    blocks = ["a", "b", "d", "c"]
    paths = [f"{block}.{part}" for block in blocks for part in ("c", "n")]
    foreign = with_paths(conv4_state(randomize), [*paths, "out"])
    with pytest.raises(CheckpointMismatch, match=r"a\.n and b\.n have the same shapes"):
        fit(foreign, manifest(), order=None, order_is_known=False)


def test_names_sorted_into_another_sequence_are_refused(randomize):
    """All convolutions sort before all BatchNorms."""
    paths = [f"{kind}.{i}" for i in range(4) for kind in ("kernels", "norms")]
    foreign = with_paths(conv4_state(randomize), [*paths, "out"])
    with pytest.raises(CheckpointMismatch, match="neither the names nor the order"):
        fit(foreign, manifest(), order=None, order_is_known=False)


def test_a_shuffled_order_of_layers_of_one_shape_is_refused(randomize):
    foreign = with_paths(conv4_state(randomize), SEQUENTIAL)
    order = [
        name
        for path in (*SEQUENTIAL[:2], *SEQUENTIAL[4:6], *SEQUENTIAL[2:4])
        for name in foreign
        if name.startswith(f"{path}.")
    ]
    order += [name for name in foreign if name not in order]
    with pytest.raises(CheckpointMismatch, match=r"in doubt: f\.4 comes after f\.9"):
        fit(foreign, manifest(), order=order, order_is_known=True)


@pytest.mark.parametrize("order_is_known", [True, False])
def test_a_layer_hidden_between_convolution_and_batch_norm_is_refused(randomize, order_is_known):
    """conv.0 - relu.1 - bn.2 is another network than conv - bn - relu, of the same shapes."""
    paths = ["f.0", "f.2", "f.4", "f.6", "f.8", "f.10", "f.12", "f.14", "head"]
    foreign = with_paths(conv4_state(randomize), paths)
    with pytest.raises(CheckpointMismatch, match=r"stands between f\.0 and f\.2"):
        fit(foreign, manifest(), order=list(foreign), order_is_known=order_is_known)


@pytest.mark.parametrize("name", ["resnet12", "resnet18", "torchvision_resnet50"])
def test_blocks_with_the_shortcut_first_are_refused_unless_names_tell(name):
    state = build(name, n_classes=5, channels=3, image_size=32).state_dict()

    def place(key):
        block = re.match(r"encoder\.layer\d\.\d", key)
        return (block[0], "downsample" not in key) if block else None

    order, pending = [], list(state)
    while pending:
        block = place(pending[0])
        together = [k for k in pending if block and place(k) and place(k)[0] == block[0]]
        together = sorted(together or pending[:1], key=lambda k: bool(place(k) and place(k)[1]))
        order += together
        pending = [key for key in pending if key not in together]
    assert order != list(state)
    paths = dict.fromkeys(key.rpartition(".")[0] for key in order)
    target = {path: f"part{i}" for i, path in enumerate(paths)}
    foreign = {
        f"{target[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": state[key] for key in order
    }
    with pytest.raises(CheckpointMismatch, match="neither the names nor the order"):
        fit(foreign, manifest(name), order=list(foreign), order_is_known=True)
    fit(state, manifest(name), order=order, order_is_known=True)


def test_both_lists_stand_side_by_side_up_to_the_first_difference(randomize):
    foreign = with_paths(conv4_state(randomize), SEQUENTIAL)
    foreign["f.5.bias"] = torch.zeros(31)
    with pytest.raises(CheckpointMismatch) as refusal:
        fit(foreign, manifest(), order=list(foreign), order_is_known=True)
    lines = str(refusal.value).splitlines()
    assert lines[0].startswith("The checkpoint does not fit conv4 (5 classes, 3 channels, 32 pix")
    assert lines[1] == "Row 10 is the first that differs (>)."
    table = [line for line in lines if " | " in line]
    assert len({line.index(" | ") for line in table}) == 1
    assert table[1].split(" | ") == [
        "  encoder.0.conv.weight 32x3x3x3 ".ljust(table[1].index(" | ")),
        "f.0.weight 32x3x3x3",
    ]
    marked = [line for line in table if line.startswith(">")]
    assert [re.split(r"\s+", line) for line in marked] == [
        [">", "encoder.1.bn.bias", "32", "|", "f.5.bias", "31"]
    ]
    assert lines[-1].startswith("What to do:")


def test_long_lists_are_cut_around_the_first_difference():
    state = build("mobilenet_v3_small", n_classes=5, channels=3, image_size=32).state_dict()
    foreign = {f"n{key}": tensor for key, tensor in state.items() if ".7." not in key}
    with pytest.raises(CheckpointMismatch) as refusal:
        fit(foreign, manifest("mobilenet_v3_small"), order=list(foreign), order_is_known=True)
    lines = str(refusal.value).splitlines()
    table = [line for line in lines if " | " in line]
    assert len(table) == 41
    assert sum(line.startswith(">") for line in table) == 1
    above, below = (
        int(re.search(r"\.\.\. (\d+) more", line)[1]) for line in lines if "..." in line
    )
    n_rows = sum("num_batches" not in key for key in state)
    assert above + 40 + below == n_rows


def test_a_hostile_name_stays_on_its_line_and_is_cut(randomize):
    foreign = conv4_state(randomize) | {"\n\x1b[31m" + "x" * 5000 + "9" * 5000: torch.zeros(3)}
    with pytest.raises(CheckpointMismatch) as refusal:
        fit(foreign, manifest(), order=list(foreign), order_is_known=True)
    assert max(map(len, str(refusal.value).splitlines())) < 500
    assert "\x1b" not in str(refusal.value)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"n_classes": 4}, "the head has 5 outputs, the manifest names 4 classes"),
        ({"channels": 1}, "its first convolution takes images of 3 channels, the manifest says 1"),
        ({"image_size": 84}, "the head takes 128 inputs, conv4 makes 800 features of 84 pixels"),
    ],
)
@pytest.mark.parametrize("naming", ["own", "sequential"])
def test_a_wrong_manifest_is_said_in_a_sentence(declared, sentence, naming, randomize):
    state = conv4_state(randomize)
    state = state if naming == "own" else with_paths(state, SEQUENTIAL)
    with pytest.raises(CheckpointMismatch, match=re.escape(sentence)):
        fit(state, manifest(**declared), order=list(state), order_is_known=True)


def test_grey_mobilenets_are_told_from_depthwise_convolutions():
    state = build("mobilenet_v3_small", n_classes=5, channels=1, image_size=32).state_dict()
    with pytest.raises(CheckpointMismatch, match="images of 1 channels, the manifest says 3"):
        fit(state, manifest("mobilenet_v3_small"), order=list(state), order_is_known=True)


def test_an_extra_convolution_is_not_taken_for_a_stem_of_other_channels(randomize):
    foreign = with_paths(conv4_state(randomize), SEQUENTIAL)
    foreign["extra.weight"] = torch.zeros(32, 1, 3, 3)
    with pytest.raises(CheckpointMismatch) as refusal:
        fit(foreign, manifest(), order=list(foreign), order_is_known=True)
    assert "first convolution takes" not in str(refusal.value)


def test_a_head_without_bias_is_not_given_zeros(randomize):
    state = conv4_state(randomize)
    del state["classifier.bias"]
    with pytest.raises(CheckpointMismatch, match="has no bias"):
        fit(state, manifest(), order=list(state), order_is_known=True)


def test_a_backbone_without_its_head_is_refused(randomize):
    state = {key: t for key, t in conv4_state(randomize).items() if "encoder" in key}
    with pytest.raises(CheckpointMismatch, match="no linear layer"):
        fit(state, manifest(), order=list(state), order_is_known=True)


def test_a_network_without_running_statistics_is_refused_as_such():
    layers = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32, track_running_stats=False))
    state = layers.state_dict()
    with pytest.raises(NoBatchNorm, match="running statistics"):
        fit(state, manifest(), order=list(state), order_is_known=True)


def test_integer_weights_are_refused_by_name(randomize):
    state = conv4_state(randomize)
    state["encoder.1.conv.weight"] = state["encoder.1.conv.weight"].to(torch.int8)
    with pytest.raises(CheckpointMismatch, match=r"encoder\.1\.conv\.weight is int8"):
        fit(state, manifest(), order=list(state), order_is_known=True)


def test_an_empty_checkpoint_is_refused():
    with pytest.raises(NoBatchNorm):
        fit({}, manifest(), order=[], order_is_known=True)
