"""The ensemble as a value and as a file."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toy_pool import CPU, seeded, toy_teacher, toy_teachers

from ml.backbones import build, initialize
from ml.delivered import load_delivered, save_delivered
from ml.ensemble import EnsembleLearner, load_ensemble, nameless, save_ensemble
from ml.errors import CheckpointMismatch, InvalidConfig
from ml.learner import MetaLearner
from ml.types import Teacher


@cache
def resnet_without_stem_relu() -> Teacher:
    """A network that differs from the usual one of its backbone by more than tensors."""
    module = build("resnet10", n_classes=4, channels=3, image_size=24)
    initialize(module, seeded(1))
    module.encoder.stem_relu = False
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eps = 0.01
    return Teacher(
        module=module.eval().requires_grad_(False),
        backbone="resnet10",
        class_names=("cat", "dog", "cow", "hen"),
        image_size=24,
        channels=3,
        mean=(0.1, 0.2, 0.3),
        std=(1 / 3, 0.25, 0.5),
    )


@cache
def coloured() -> Teacher:
    return toy_teacher((0, 3, 5, 8), seed=9, size=24, channels=3, steps=0)


def mixed() -> EnsembleLearner:
    members = (toy_teachers()[0], coloured())
    return EnsembleLearner(members=members, teachers_asked=7, answer_temperature=1.5)


def altered(tmp_path: Path, change) -> Path:
    """The file of an ensemble after change(description, tensors)."""
    path = tmp_path / "ensemble"
    save_ensemble(path, mixed())
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()["meta_learner"])
    described = change(described, tensors) or described
    save_file(tensors, path, metadata={"meta_learner": json.dumps(described)})
    return path


def test_an_ensemble_comes_back_answering_to_the_bit(tmp_path):
    learner = replace(mixed(), members=(toy_teachers()[0], resnet_without_stem_relu()))
    save_delivered(tmp_path / "file", learner)
    back = load_delivered(tmp_path / "file")
    assert isinstance(back, EnsembleLearner)
    assert (back.teachers_asked, back.answer_temperature) == (7, 1.5)
    assert back.temperature == learner.temperature
    images = torch.rand(3, 3, 20, 20, generator=seeded(0))
    for one, other in zip(learner.members, back.members, strict=True):
        assert torch.equal(one.logits(images), other.logits(images))
        assert (one.backbone, one.mean, one.std) == (other.backbone, other.mean, other.std)
        assert not any(part.training for part in other.module.modules())
        assert not any(weight.requires_grad for weight in other.module.parameters())


def test_equal_ensembles_are_equal_files_and_tell_no_class_name(tmp_path):
    files = set()
    for number in range(4):
        save_ensemble(tmp_path / f"{number}", mixed())
        files.add((tmp_path / f"{number}").read_bytes())
    (content,) = files
    assert b"direction" not in content
    assert nameless(resnet_without_stem_relu()).class_names == ("0", "1", "2", "3")


def test_the_format_decides_what_a_file_is_loaded_as(tmp_path):
    teacher = toy_teachers()[0]
    learner = MetaLearner(
        backbone="conv4",
        n_way=3,
        image_size=16,
        channels=1,
        mean=teacher.mean,
        std=teacher.std,
        tensors=teacher.module.state_dict(),
    )
    save_delivered(tmp_path / "one", learner)
    save_delivered(tmp_path / "many", mixed())
    assert isinstance(load_delivered(tmp_path / "one"), MetaLearner)
    assert isinstance(load_delivered(tmp_path / "many"), EnsembleLearner)
    with pytest.raises(CheckpointMismatch):
        load_ensemble(tmp_path / "one")


def test_a_record_says_the_common_size_and_images_are_decoded_for_the_sharpest_eye():
    small, large = toy_teachers()[0], coloured()
    learner = replace(mixed(), members=(small, large, small))
    assert (learner.image_size, learner.channels, learner.largest_side) == (16, 3, 24)
    assert learner.backbone == "ensemble"
    assert learner.device == CPU


def member(**changes):
    return lambda described, _: described["members"][1].update(changes)


def drop_a_tensor(_, tensors):
    del tensors["member/0/classifier.bias"]


def add_a_tensor(_, tensors):
    tensors["member/1/extra"] = torch.ones(1)


def name_a_tensor_otherwise(_, tensors):
    tensors["elsewhere"] = torch.ones(1)


def give_a_tensor_to_nobody(_, tensors):
    tensors["member/2/classifier.bias"] = torch.ones(1)


def reshape_a_tensor(_, tensors):
    tensors["member/0/classifier.bias"] = torch.ones(4)


def make_weights_double(_, tensors):
    tensors["member/0/classifier.bias"] = torch.ones(3, dtype=torch.float64)


def make_weights_integers(_, tensors):
    tensors["member/0/classifier.bias"] = torch.ones(3, dtype=torch.int64)


HOSTILE = {
    "a tensor missing": drop_a_tensor,
    "a tensor too many": add_a_tensor,
    "a tensor of no member": name_a_tensor_otherwise,
    "a tensor of a member beyond the last": give_a_tensor_to_nobody,
    "a tensor of another shape": reshape_a_tensor,
    "integers for weights": make_weights_integers,
    "weights that do not compute with images": make_weights_double,
    "an unknown backbone": member(backbone="magic"),
    "a backbone that is a list": member(backbone=["conv4"]),
    "a fraction of a class": member(n_classes=4.5),
    "a billion classes": member(n_classes=10**9),
    "enormous images": member(image_size=10**9),
    "two channels": member(channels=2),
    "one mean for three channels": member(mean=[0.5]),
    "a mean that is no number": member(mean=[0.5, float("nan"), 0.5]),
    "a mean that is text": member(mean="abc"),
    "a deviation of zero": member(std=[0.5, 0.0, 0.5]),
    "an unknown option": member(options={"magic": 1.0}),
    "an impossible epsilon": member(options={"bn_eps": -1.0}),
    "an option that is text": member(options={"bn_eps": "x"}),
    "options that are a list": member(options=[1]),
    "members that are a number": lambda described, _: described.update(members=3),
    "members that are null": lambda described, _: described.update(members=[None, None]),
    "no members": lambda described, tensors: (tensors.clear(), described.update(members=[]))[1],
    "no settings": lambda described, _: described.pop("teachers_asked") and None,
    "fewer than none asked": lambda described, _: described.update(teachers_asked=-1),
    "infinitely many asked": lambda described, _: described.update(teachers_asked=float("inf")),
    "a temperature of zero": lambda described, _: described.update(temperature=0),
    "a temperature that is no number": lambda d, _: d.update(answer_temperature=float("nan")),
    "another version": lambda described, _: described.update(format="modelpool.ensemble.0"),
    "a description that is a list": lambda described, _: [described],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused(tmp_path, kind):
    path = altered(tmp_path, HOSTILE[kind])
    for load in (load_ensemble, load_delivered):
        with pytest.raises(CheckpointMismatch):
            load(path)


def test_the_file_that_these_are_made_from_is_loaded(tmp_path):
    assert len(load_ensemble(altered(tmp_path, lambda *_: None)).members) == 2


@pytest.mark.parametrize("note", ["[" * 100_000, "{", "1e999", '"text"', "null"])
def test_a_description_that_is_no_table_is_refused(tmp_path, note):
    save_file({"a": torch.ones(1)}, tmp_path / "file", metadata={"meta_learner": note})
    for load in (load_ensemble, load_delivered):
        with pytest.raises(CheckpointMismatch):
            load(tmp_path / "file")


@pytest.mark.parametrize("name", ["noise", "bare", "missing"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / "noise").write_bytes(b"not safetensors at all")
    save_file({"a": torch.ones(1)}, tmp_path / "bare")
    for load in (load_ensemble, load_delivered):
        with pytest.raises(CheckpointMismatch):
            load(tmp_path / name)


@pytest.mark.parametrize(
    "wrong",
    [{"members": ()}, {"teachers_asked": -1}, {"answer_temperature": 0.0}, {"temperature": -1.0}],
)
def test_an_impossible_ensemble_is_refused(wrong):
    with pytest.raises(InvalidConfig):
        replace(mixed(), **wrong)


def test_a_mobilenets_own_epsilon_survives(tmp_path):
    teacher = toy_teacher((0, 5), seed=0, backbone="mobilenet_v3_small", size=32, steps=0)
    images = torch.rand(2, 1, 32, 32, generator=seeded(0))
    learner = EnsembleLearner(members=(teacher,), teachers_asked=0, answer_temperature=2.0)
    save_ensemble(tmp_path / "file", learner)
    (back,) = load_ensemble(tmp_path / "file").members
    assert torch.equal(back.logits(images), teacher.logits(images))
