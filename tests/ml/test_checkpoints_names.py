"""Checkpoints of published code load under their own names and predict as the original does."""

import re

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from ml.backbones import BACKBONES, build
from ml.checkpoints import Manifest, fit
from ml.checkpoints.files import apply_options
from ml.errors import CheckpointMismatch

FEW_SHOT_RESNETS = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2)}
TORCHVISION = {
    "torchvision_resnet18": models.resnet18,
    "torchvision_resnet34": models.resnet34,
    "torchvision_resnet50": models.resnet50,
    "mobilenet_v3_small": models.mobilenet_v3_small,
}
TIMM = {
    "torchvision_resnet18": "resnet18",
    "torchvision_resnet34": "resnet34",
    "torchvision_resnet50": "resnet50",
    "mobilenet_v3_small": "mobilenetv3_small_100",
}


def manifest(backbone, *, n_classes=5, channels=3, image_size=32):
    return Manifest(
        backbone=backbone,
        class_names=tuple(f"class {i}" for i in range(n_classes)),
        image_size=image_size,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )


def fitted_logits(tensors, declared, images):
    """Fit without any order, so that names alone decide; load; answer."""
    fitted = fit(tensors, declared, order=None, order_is_known=False)
    backbone = build(
        declared.backbone,
        n_classes=len(declared.class_names),
        channels=declared.channels,
        image_size=declared.image_size,
    )
    backbone.load_state_dict(fitted.tensors, strict=True)
    apply_options(backbone, fitted.options)
    with torch.no_grad():
        return backbone.eval()(images)


class TrunkBlock(nn.Module):
    """A residual block with the parts' names of published few-shot code."""

    def __init__(self, inner, outer, stride):
        super().__init__()
        self.C1 = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
        self.BN1 = nn.BatchNorm2d(outer)
        self.C2 = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.BN2 = nn.BatchNorm2d(outer)
        if inner != outer:
            self.shortcut = nn.Conv2d(inner, outer, 1, stride=stride, bias=False)
            self.BNshortcut = nn.BatchNorm2d(outer)

    def forward(self, x):
        inner = self.BN2(self.C2(F.relu(self.BN1(self.C1(x)))))
        short = self.BNshortcut(self.shortcut(x)) if hasattr(self, "shortcut") else x
        return F.relu(inner + short)


def trunk_resnet(depths, between, *, stem=(3, 1)):
    """A ResNet as one sequence, `between` being the weightless layers after its stem."""
    size, stride = stem
    layers = [nn.Conv2d(3, 64, size, stride=stride, padding=size // 2, bias=False)]
    layers += [nn.BatchNorm2d(64), *between]
    inner = 64
    for stage, (depth, outer) in enumerate(zip(depths, (64, 128, 256, 512), strict=True)):
        for block in range(depth):
            layers.append(TrunkBlock(inner, outer, 2 if stage and block == 0 else 1))
            inner = outer
    network = nn.Module()
    network.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 5))
    return network


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        *((name, 3) for name in TIMM),
        ("torchvision_resnet18", 1),
        ("mobilenet_v3_small", 1),
    ],
)
def test_timm_checkpoints_predict_as_timm_does(name, channels, randomize, rng):
    original = randomize(
        timm.create_model(TIMM[name], pretrained=False, num_classes=5, in_chans=channels)
    )
    images = torch.randn(2, channels, 64, 64, generator=rng)
    declared = manifest(name, channels=channels, image_size=64)
    logits = fitted_logits(original.state_dict(), declared, images)
    torch.testing.assert_close(logits, original(images).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        *((name, "") for name in TORCHVISION),
        ("torchvision_resnet18", "model."),
        ("mobilenet_v3_small", "net.backbone.encoder."),
    ],
)
def test_torchvision_checkpoints_predict_as_torchvision_does(name, prefix, randomize, rng):
    original = randomize(TORCHVISION[name](weights=None, num_classes=5))
    images = torch.randn(2, 3, 64, 64, generator=rng)
    tensors = {f"{prefix}{key}": tensor for key, tensor in original.state_dict().items()}
    logits = fitted_logits(tensors, manifest(name, image_size=64), images)
    torch.testing.assert_close(logits, original(images).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_backbones_own_names_are_taken_as_they_are(name, randomize):
    state = randomize(build(name, n_classes=5, channels=3, image_size=32)).state_dict()
    shuffled = dict(sorted(state.items(), key=lambda item: item[0][::-1]))
    fitted = fit(shuffled, manifest(name), order=list(shuffled), order_is_known=True)
    assert list(fitted.tensors) == list(state)
    assert all(torch.equal(fitted.tensors[key], tensor) for key, tensor in state.items())
    assert fitted.options == {}


CONV4_NAMINGS = {
    "chen_2019": ("trunk.{i}.C", "trunk.{i}.BN", "trunk.5"),
    "alias_alone": ("trunk.{i}.trunk.0", "trunk.{i}.trunk.1", "trunk.5"),
    "prototypical": ("encoder.{i}.0", "encoder.{i}.1", "linear"),
    "relation": ("layer{j}.0", "layer{j}.1", "fc"),
    "torchmeta": ("features.layer{j}.conv", "features.layer{j}.norm", "classifier"),
    "learn2learn": ("features.{i}.conv", "features.{i}.normalize", "classifier"),
    "numbered_pairs": ("conv{j}", "bn{j}", "logits"),
    "wrapped": ("model.backbone.{i}.conv", "model.backbone.{i}.bn", "model.head"),
    "two_prefixes": ("feature_extractor.{i}.conv", "feature_extractor.{i}.bn", "cls"),
}


@pytest.mark.parametrize("naming", CONV4_NAMINGS)
def test_conv4_is_recognised_in_the_namings_of_published_code(naming, randomize):
    convolution, norm, head = CONV4_NAMINGS[naming]
    state = randomize(build("conv4", n_classes=5, channels=3, image_size=32)).state_dict()

    def published(name):
        match = re.match(r"encoder\.(\d)\.(conv|bn)", name)
        if match is None:
            return name.replace("classifier", head)
        form = convolution if match[2] == "conv" else norm
        return form.format(i=match[1], j=int(match[1]) + 1) + name[match.end() :]

    foreign = {published(name): tensor for name, tensor in reversed(state.items())}
    fitted = fit(foreign, manifest("conv4"), order=None, order_is_known=False)
    assert all(torch.equal(fitted.tensors[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize("name", [*FEW_SHOT_RESNETS, "resnet12", "torchvision_resnet50"])
@pytest.mark.parametrize("shortcut", ["shortcut", "skip"])
def test_resnets_with_other_names_for_their_shortcut_are_recognised(name, shortcut, randomize):
    state = randomize(build(name, n_classes=5, channels=3, image_size=32)).state_dict()
    foreign = {
        key.removeprefix("encoder.")
        .replace("downsample", shortcut)
        .replace("classifier", "linear"): t
        for key, t in reversed(state.items())
    }
    fitted = fit(foreign, manifest(name), order=None, order_is_known=False)
    assert all(torch.equal(fitted.tensors[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("name", FEW_SHOT_RESNETS)
def test_trunk_resnets_predict_as_the_original_with_or_without_relu_in_the_stem(
    name, relu, randomize, rng
):
    """Published data-free code has no activation there, which its numbering shows."""
    original = randomize(trunk_resnet(FEW_SHOT_RESNETS[name], [nn.ReLU()] if relu else []))
    images = torch.randn(2, 3, 32, 32, generator=rng)
    logits = fitted_logits(original.state_dict(), manifest(name), images)
    torch.testing.assert_close(logits, original.trunk(images).detach(), rtol=1e-4, atol=1e-4)


def test_a_trunk_resnet_for_photographs_predicts_as_the_original(randomize, rng):
    between = [nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
    original = randomize(trunk_resnet((3, 4, 6, 3), between, stem=(7, 2)))
    images = torch.randn(2, 3, 64, 64, generator=rng)
    declared = manifest("torchvision_resnet34", image_size=64)
    logits = fitted_logits(original.state_dict(), declared, images)
    torch.testing.assert_close(logits, original.trunk(images).detach(), rtol=1e-4, atol=1e-4)


def test_a_trunk_resnet_with_a_max_pool_is_refused_as_one_without():
    state = trunk_resnet((1, 1, 1, 1), [nn.ReLU(), nn.MaxPool2d(2)]).state_dict()
    with pytest.raises(CheckpointMismatch, match="no max-pool after the stem"):
        fit(state, manifest("resnet10"), order=list(state), order_is_known=True)


def test_an_alias_with_equal_contents_is_dropped(randomize):
    state = randomize(build("conv4", n_classes=5, channels=3, image_size=32)).state_dict()
    foreign = {}
    for name, tensor in state.items():
        short = name.replace("encoder", "trunk").replace("classifier", "trunk.5")
        foreign[short.replace("conv", "C").replace("bn", "BN")] = tensor
        foreign[short.replace("conv", "trunk.0").replace("bn", "trunk.1")] = tensor.clone()
    fitted = fit(foreign, manifest("conv4"), order=list(foreign), order_is_known=True)
    assert all(torch.equal(fitted.tensors[key], tensor) for key, tensor in state.items())

    foreign["trunk.2.trunk.0.weight"] += 1
    with pytest.raises(CheckpointMismatch, match=r"trunk\.2\.trunk\.0\.weight"):
        fit(foreign, manifest("conv4"), order=list(foreign), order_is_known=True)


@pytest.mark.parametrize("extra", ["specific", "ema.encoder.0.conv.weight", "rotation.weight"])
def test_tensors_that_are_no_part_of_the_backbone_are_refused_by_name(extra):
    state = build("conv4", n_classes=5, channels=3, image_size=32).state_dict()
    state[extra] = torch.zeros(4, 128)
    with pytest.raises(CheckpointMismatch, match=re.escape(f"{extra}: no part of conv4")):
        fit(state, manifest("conv4"), order=list(state), order_is_known=True)


def test_counters_of_profilers_and_missing_step_counters_do_no_harm():
    state = build("conv4", n_classes=5, channels=3, image_size=32).state_dict()
    foreign = {key: tensor for key, tensor in state.items() if "num_batches" not in key}
    foreign |= {"total_ops": torch.zeros(1), "encoder.0.conv.total_params": torch.zeros(1)}
    fitted = fit(foreign, manifest("conv4"), order=None, order_is_known=False)
    assert list(fitted.tensors) == list(state)
    assert fitted.tensors["encoder.3.bn.num_batches_tracked"].item() == 0
