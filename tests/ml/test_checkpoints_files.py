"""Teachers in files: what is written loads again, what is broken is refused."""

import json
from dataclasses import replace

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from ml.backbones import build
from ml.checkpoints import (
    Manifest,
    check_teacher,
    fit,
    load_teacher,
    read_canonical,
    write_teacher,
)
from ml.errors import CheckpointMismatch, InvalidConfig, NoBatchNorm, NonFiniteOutput

CONV4 = Manifest(
    backbone="conv4",
    class_names=("possum", "mouse", "bee", "bear", "orchid"),
    image_size=32,
    channels=3,
    mean=(0.5071, 0.4866, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


def plain_conv4(tensors, images):
    """Conv4 from its formula, with tensors in the order of its layers, step counters left out."""
    values = [tensor.float() for tensor in tensors if tensor.dtype != torch.int64]
    maps = images
    for block in range(4):
        weight, bias, scale, shift, mean, var = values[6 * block : 6 * block + 6]
        maps = F.conv2d(maps, weight, bias, padding=1)
        maps = F.max_pool2d(F.relu(F.batch_norm(maps, mean, var, scale, shift)), 2)
    return F.linear(maps.flatten(1), *values[24:])


@pytest.fixture
def conv4(randomize):
    return randomize(build("conv4", n_classes=5, channels=3, image_size=32))


OTHER_FORMS = [
    "bfloat16.pt",
    "channels_last.pt",
    "few_shot_code_naming.pth",
    "half.pt",
    "sequential_naming.pt",
    "training_checkpoint.pt",
]


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_real_checkpoints_of_other_forms_fit_and_predict_as_the_original(
    form, shared_directory, tmp_path, rng
):
    path = shared_directory / "pools/other_forms" / form
    content = torch.load(path, weights_only=True)  # noqa: TID251 — our own file, and no code in it
    state = content.get("teacher", content.get("model_state_dict", content))
    fitted = fit(state, CONV4, order=list(state), order_is_known=True)
    write_teacher(tmp_path / "kept", fitted, CONV4)
    teacher = load_teacher(tmp_path / "kept", CONV4)
    check_teacher(teacher, rng=rng)

    images = torch.rand(4, 3, 32, 32, generator=rng)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CONV4.mean, CONV4.std))
    originals = [tensor for name, tensor in state.items() if ".trunk." not in name]
    expected = plain_conv4(originals, (images - mean) / std)
    torch.testing.assert_close(teacher.logits(images), expected, rtol=1e-4, atol=1e-4)


def test_every_teacher_of_the_real_pool_loads_and_answers(shared_directory, rng):
    directory = shared_directory / "pools/cifarfs_conv4"
    for path in sorted(directory.glob("*.json"))[:10]:
        content = json.loads(path.read_text())
        manifest = Manifest(
            backbone=content["backbone"],
            class_names=tuple(content["class_names"]),
            image_size=content["image_size"],
            channels=content["channels"],
            mean=tuple(content["normalization"]["mean"]),
            std=tuple(content["normalization"]["std"]),
        )
        teacher = load_teacher(path.with_suffix(".safetensors"), manifest)
        check_teacher(teacher, rng=rng)
        assert teacher.class_names == tuple(content["class_names"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_teacher_is_frozen_in_eval_mode_and_in_float32(dtype, conv4, tmp_path):
    state = {k: t.to(dtype) if t.is_floating_point() else t for k, t in conv4.state_dict().items()}
    save_file(state, tmp_path / "teacher")
    module = load_teacher(tmp_path / "teacher", CONV4).module
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    for name, tensor in module.state_dict().items():
        assert tensor.device.type == "cpu"
        torch.testing.assert_close(tensor, state[name].to(tensor.dtype), rtol=0, atol=0)
        assert tensor.dtype == (torch.int64 if "num_batches" in name else torch.float32)


def test_what_is_kept_carries_its_options_to_the_next_load(randomize, tmp_path, rng):
    """timm's MobileNet has another BatchNorm epsilon, which canonical names no longer tell."""
    original = randomize(timm.create_model("mobilenetv3_small_100", num_classes=5))
    manifest = replace(CONV4, backbone="mobilenet_v3_small", mean=(0.0,) * 3, std=(1.0,) * 3)
    fitted = fit(original.state_dict(), manifest, order=None, order_is_known=False)
    assert fitted.options == {"bn_eps": 1e-5}
    write_teacher(tmp_path / "kept", fitted, manifest)
    teacher = load_teacher(tmp_path / "kept", manifest)
    images = torch.rand(2, 3, 32, 32, generator=rng)
    expected = original(images).detach()
    torch.testing.assert_close(teacher.logits(images), expected, rtol=1e-4, atol=1e-4)


def test_what_is_kept_has_canonical_names_and_its_own_dtype(conv4, tmp_path):
    foreign = {
        name.replace("encoder", "trunk").replace("conv", "C").replace("bn", "BN"): tensor.half()
        for name, tensor in conv4.state_dict().items()
    }
    fitted = fit(foreign, CONV4, order=None, order_is_known=False)
    write_teacher(tmp_path / "kept", fitted, CONV4)
    tensors, order, order_is_known = read_canonical(tmp_path / "kept")
    assert order == list(conv4.state_dict())
    assert order_is_known
    assert set(tensors) == set(order)
    assert tensors["encoder.0.conv.weight"].dtype == torch.float16
    with safe_open(tmp_path / "kept", framework="pt") as file:
        assert file.metadata()["backbone"] == "conv4"


def test_the_noted_order_decides_between_layers_of_one_shape(conv4, tmp_path):
    """safetensors sorts its names, so only the note can say that z comes before a."""
    state = conv4.state_dict()
    blocks = dict(zip("0123", "zyxa", strict=True))
    foreign = {
        f"{blocks[name[8]]}{name[9:]}" if name.startswith("encoder") else name: tensor
        for name, tensor in state.items()
    }
    notes = {"order": json.dumps(list(foreign)), "order_is_known": "true"}
    save_file(foreign, tmp_path / "noted", metadata=notes)
    loaded = load_teacher(tmp_path / "noted", CONV4).module.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    for lost in (notes | {"order_is_known": "false"}, None):
        save_file(foreign, tmp_path / "lost", metadata=lost)
        with pytest.raises(CheckpointMismatch):
            load_teacher(tmp_path / "lost", CONV4)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    (tmp_path / "text").write_text("weights")
    with pytest.raises(CheckpointMismatch, match="no readable safetensors"):
        read_canonical(tmp_path / "text")


@pytest.mark.parametrize(
    "notes",
    [
        {"order": "["},
        {"order": "[1]"},
        {"order": '"names"'},
        {"options": "[]"},
        {"options": '{"bn_eps": "0"}'},
        {"options": '{"bn_eps": 2.0}'},
        {"options": '{"bn_eps": NaN}'},
        {"options": '{"stem_relu": 0.0}'},
        {"options": '{"depth": 3.0}'},
    ],
)
def test_malformed_notes_are_refused(notes, conv4, tmp_path):
    save_file(conv4.state_dict(), tmp_path / "file", metadata=notes)
    with pytest.raises(CheckpointMismatch):
        load_teacher(tmp_path / "file", CONV4)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_teacher_that_answers_noise_with_no_number_is_found(value, conv4, tmp_path, rng):
    conv4.classifier.weight.data[0, 0] = value
    conv4.encoder[3].bn.bias.data.fill_(1.0)
    save_file(conv4.state_dict(), tmp_path / "file")
    with pytest.raises(NonFiniteOutput):
        check_teacher(load_teacher(tmp_path / "file", CONV4), rng=rng)


def test_a_teacher_without_statistics_or_with_too_few_outputs_is_found(conv4, tmp_path, rng):
    save_file(conv4.state_dict(), tmp_path / "file")
    teacher = load_teacher(tmp_path / "file", CONV4)
    check_teacher(teacher, rng=rng)
    with pytest.raises(CheckpointMismatch, match="5 logits, 2 classes"):
        check_teacher(replace(teacher, class_names=("bee", "bear")), rng=rng)
    bare = nn.Sequential(nn.Flatten(), nn.Linear(3072, 5))
    with pytest.raises(NoBatchNorm):
        check_teacher(replace(teacher, module=bare), rng=rng)


@pytest.mark.parametrize(
    "wrong", [{"mean": (0.5,)}, {"std": (0.5, 0.5)}, {"std": (0.5, 0.5, 0.0)}, {"channels": 1}]
)
def test_a_normalisation_that_does_not_fit_the_channels_is_refused(wrong):
    with pytest.raises(InvalidConfig):
        replace(CONV4, **wrong)
