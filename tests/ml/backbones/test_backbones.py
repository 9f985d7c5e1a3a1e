import math
from itertools import pairwise

import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F
from torchvision import models

from ml.backbones import BACKBONES, build, initialize
from ml.errors import InvalidConfig, UnknownBackbone

TORCHVISION = {
    "torchvision_resnet18": models.resnet18,
    "torchvision_resnet34": models.resnet34,
    "torchvision_resnet50": models.resnet50,
    "mobilenet_v3_small": models.mobilenet_v3_small,
}


def on_meta(name, *, n_classes=5, channels=3, image_size=32):
    with torch.device("meta"):
        return build(name, n_classes=n_classes, channels=channels, image_size=image_size)


def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def residual_blocks(widths, n_convolutions, blocks_per_stage, *, first_projects):
    """Parameters of 3x3 convolutions, BatchNorms (2 each) and 1x1 projections, by arithmetic."""
    total = 0
    for stage, (inner, outer) in enumerate(pairwise(widths)):
        for block in range(blocks_per_stage):
            start = inner if block == 0 else outer
            total += 9 * (start * outer + (n_convolutions - 1) * outer * outer)
            total += 2 * outer * n_convolutions
            if block == 0 and (stage > 0 or first_projects):
                total += start * outer + 2 * outer
    return total


@pytest.mark.parametrize(("image_size", "count"), [(32, 29_541), (84, 32_901)])
def test_conv4_has_as_many_parameters_as_published(image_size, count):
    assert n_parameters(on_meta("conv4", image_size=image_size)) == count


def test_conv4_64_has_the_parameters_of_64_filters():
    blocks = 9 * 3 * 64 + 3 * 9 * 64 * 64 + 4 * (64 + 2 * 64)
    assert n_parameters(on_meta("conv4_64")) == blocks + (64 * 4 + 1) * 5


@pytest.mark.parametrize(
    ("name", "blocks_per_stage", "millions"), [("resnet10", 1, 4.90), ("resnet18", 2, 11.17)]
)
def test_few_shot_resnets_have_as_many_parameters_as_published(name, blocks_per_stage, millions):
    widths = (64, 64, 128, 256, 512)
    blocks = residual_blocks(widths, 2, blocks_per_stage, first_projects=False)
    count = n_parameters(on_meta(name))
    assert count == 9 * 3 * 64 + 2 * 64 + blocks + 513 * 5
    assert round(count / 1e6, 2) == millions


def test_resnet12_has_as_many_parameters_as_published():
    blocks = residual_blocks((3, 64, 160, 320, 640), 3, 1, first_projects=True)
    count = n_parameters(on_meta("resnet12"))
    assert count == blocks + 641 * 5
    assert round(count / 1e6, 1) == 12.4


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_networks_have_torchvisions_parameter_count(name):
    with torch.device("meta"):
        original = TORCHVISION[name](weights=None, num_classes=7)
    assert n_parameters(on_meta(name, n_classes=7)) == n_parameters(original)


def test_conv4_names_its_tensors_as_the_real_pool_does(shared_directory):
    path = shared_directory / "pools/cifarfs_conv4/cifarfs-conv4-000.safetensors"
    with safe_open(path, framework="pt") as file:
        real = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    ours = {name: tuple(tensor.shape) for name, tensor in on_meta("conv4").state_dict().items()}
    assert ours == real


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["conv4", "conv4_64"])
def test_conv4_answers_every_size_and_number_of_channels(name, channels):
    for image_size in (16, 33, 84, 224):
        backbone = on_meta(name, n_classes=11, channels=channels, image_size=image_size)
        images = torch.zeros(2, channels, image_size, image_size, device="meta")
        assert backbone.features(images).shape == (2, backbone.feature_dim)
        assert backbone(images).shape == (2, 11)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [name for name in BACKBONES if not name.startswith("conv4")])
def test_pooling_backbones_answer_every_size_with_the_same_weights(name, channels):
    backbone = on_meta(name, n_classes=11, channels=channels, image_size=224)
    for image_size in (16, 33, 84, 224):
        images = torch.zeros(2, channels, image_size, image_size, device="meta")
        assert backbone.features(images).shape == (2, backbone.feature_dim)
        assert backbone(images).shape == (2, 11)


@pytest.mark.parametrize("name", BACKBONES)
def test_logits_are_the_classifier_of_the_features(name, randomize, rng):
    backbone = randomize(build(name, n_classes=2, channels=1, image_size=16))
    images = torch.randn(2, 1, 16, 16, generator=rng)
    logits = F.linear(
        backbone.encoder(images), backbone.classifier.weight, backbone.classifier.bias
    )
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(backbone(images), logits)


def test_conv4_computes_what_the_papers_sequence_of_layers_does(randomize, rng):
    layers = []
    for width in (3, 32, 32, 32):
        layers += [nn.Conv2d(width, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    original = randomize(nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 25, 5)))
    ours = build("conv4", n_classes=5, channels=3, image_size=84).eval()
    in_order = zip(ours.state_dict(), original.state_dict().values(), strict=True)
    ours.load_state_dict(dict(in_order))
    images = torch.randn(2, 3, 84, 84, generator=rng)
    torch.testing.assert_close(ours(images), original(images))


def test_resnet18_is_torchvisions_with_a_small_stem_and_no_max_pool(randomize, rng):
    original = models.resnet18(weights=None, num_classes=5)
    original.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    original.maxpool = nn.Identity()
    randomize(original)
    ours = build("resnet18", n_classes=5, channels=3, image_size=32).eval()
    renamed = {
        name.replace("fc.", "classifier.") if name.startswith("fc.") else f"encoder.{name}": tensor
        for name, tensor in original.state_dict().items()
    }
    ours.load_state_dict(renamed)
    images = torch.randn(2, 3, 32, 32, generator=rng)
    torch.testing.assert_close(ours(images), original(images))


def test_resnet12_computes_the_formula_of_its_paper(randomize, rng):
    ours = randomize(build("resnet12", n_classes=5, channels=3, image_size=16))
    weights = ours.state_dict()

    def norm(maps, path):
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(maps, *(weights[f"encoder.{path}.{name}"] for name in names))

    def conv(maps, path, padding):
        return F.conv2d(maps, weights[f"encoder.{path}.weight"], padding=padding)

    maps = images = torch.randn(2, 3, 16, 16, generator=rng)
    for stage in range(1, 5):
        block, inner = f"layer{stage}.0", maps
        for i in (1, 2, 3):
            inner = norm(conv(inner, f"{block}.conv{i}", 1), f"{block}.bn{i}")
            inner = F.leaky_relu(inner, 0.1) if i < 3 else inner
        shortcut = norm(conv(maps, f"{block}.downsample.0", 0), f"{block}.downsample.1")
        maps = F.max_pool2d(F.leaky_relu(inner + shortcut, 0.1), 2)
    features = F.adaptive_avg_pool2d(maps, 1).flatten(1)
    torch.testing.assert_close(ours.features(images), features)


@pytest.mark.parametrize("name", sorted(set(BACKBONES) - {"torchvision_resnet34"}))
def test_vmap_over_stacked_weights_equals_one_network_at_a_time(name, randomize, rng):
    networks = [randomize(build(name, n_classes=3, channels=3, image_size=16)) for _ in range(2)]
    images = torch.randn(2, 3, 16, 16, generator=rng)
    params, buffers = stack_module_state(networks)
    skeleton = on_meta(name, n_classes=3, image_size=16).eval()
    stacked = vmap(lambda p, b: functional_call(skeleton, (p, b), (images,)))(params, buffers)
    apart = torch.stack([network(images) for network in networks])
    torch.testing.assert_close(stacked, apart, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_forward_pass_in_eval_mode_changes_no_buffer(name, rng):
    backbone = build(name, n_classes=3, channels=1, image_size=16).eval()
    before = {key: value.clone() for key, value in backbone.named_buffers()}
    backbone(torch.randn(2, 1, 16, 16, generator=rng))
    assert all(torch.equal(value, before[key]) for key, value in backbone.named_buffers())


@pytest.mark.parametrize("name", ["conv4", "resnet10", "mobilenet_v3_small"])
def test_initialisation_depends_on_the_seed_alone(name):
    def weights(seed):
        backbone = build(name, n_classes=3, channels=3, image_size=16)
        with torch.no_grad():
            for tensor in backbone.state_dict().values():
                tensor.fill_(7)
        initialize(backbone, torch.Generator().manual_seed(seed))
        return backbone.state_dict()

    one, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
    assert not any((tensor == 7).all() for tensor in one.values())


def test_initialisation_draws_convolutions_with_variance_two_over_fan_out(rng):
    backbone = build("resnet18", n_classes=5, channels=3, image_size=32)
    initialize(backbone, rng)
    weight = backbone.encoder.get_parameter("layer4.1.conv2.weight")
    assert weight.mean().item() == pytest.approx(0.0, abs=1e-4)
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)
    head = backbone.classifier.weight
    assert head.abs().max().item() <= 1 / math.sqrt(512)
    assert head.std().item() == pytest.approx(1 / math.sqrt(3 * 512), rel=0.05)


def test_an_unknown_backbone_is_refused_with_the_allowed_names():
    with pytest.raises(UnknownBackbone) as refusal:
        build("vgg16", n_classes=5, channels=3, image_size=32)
    assert all(name in str(refusal.value) for name in (*BACKBONES, "vgg16"))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"n_classes": 1}, "at least 2 classes"),
        ({"channels": 4}, "grey or RGB"),
        ({"image_size": 15}, "16 to 224"),
        ({"image_size": 225}, "resize"),
    ],
)
def test_sizes_out_of_range_are_refused_with_advice(sizes, words):
    with pytest.raises(InvalidConfig, match=words):
        build("conv4", **{"n_classes": 5, "channels": 3, "image_size": 32} | sizes)


def test_the_sizes_at_the_bounds_are_accepted():
    assert on_meta("conv4", n_classes=2, channels=1, image_size=16).feature_dim == 32
    assert on_meta("conv4", n_classes=1000, channels=3, image_size=224).feature_dim == 32 * 14**2
