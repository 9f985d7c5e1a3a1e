from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toy_pool import seeded

from ml.backbones import build, initialize
from ml.errors import CheckpointMismatch, InvalidConfig
from ml.learner import (
    PUBLISHED,
    Adaptation,
    MetaLearner,
    load_meta_learner,
    save_meta_learner,
)
from ml.state import load_state, save_state
from ml.types import TrainingState


def a_meta_learner() -> MetaLearner:
    module = build("conv4", n_classes=5, channels=1, image_size=16)
    initialize(module, seeded(0))
    return MetaLearner(
        backbone="conv4",
        n_way=5,
        image_size=16,
        channels=1,
        mean=(0.1,),
        std=(1 / 3,),
        tensors=module.state_dict(),
        adaptation=replace(PUBLISHED),
    )


def test_a_training_state_comes_back_bit_for_bit(tmp_path):
    state = TrainingState(
        tensors={
            "rng": seeded(3).get_state(),
            "half": torch.rand(3, generator=seeded(0)).half(),
            "odd": torch.tensor([float("nan"), -0.0, 1e-45]),
            "strided": torch.rand(4, 3, generator=seeded(0)).T,
        },
        scalars={"step": 7, "loss": 0.1 + 0.2, "stage": "replay", "classes": [3, 1, 2]},
    )
    save_state(tmp_path / "state", state)
    back = load_state(tmp_path / "state")
    assert back.scalars == state.scalars
    assert back.tensors.keys() == state.tensors.keys()
    for name, tensor in state.tensors.items():
        assert back.tensors[name].dtype == tensor.dtype
        assert tensor.contiguous().view(torch.uint8).equal(back.tensors[name].view(torch.uint8))


def test_a_newer_state_replaces_the_older_one_and_leaves_nothing_beside(tmp_path):
    for step in (1, 2):
        scalars = {"step": step}
        save_state(tmp_path / "state", TrainingState(tensors={"a": torch.ones(1)}, scalars=scalars))
    assert load_state(tmp_path / "state").scalars == {"step": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("load", [load_state, load_meta_learner])
def test_a_file_of_another_kind_is_refused(tmp_path, load):
    (tmp_path / "noise").write_bytes(b"not safetensors at all")
    save_file({"a": torch.ones(1)}, tmp_path / "bare")
    for name in ("noise", "bare", "missing"):
        with pytest.raises(CheckpointMismatch):
            load(tmp_path / name)


def test_a_meta_learner_comes_back_as_it_was(tmp_path):
    meta_learner = a_meta_learner()
    save_meta_learner(tmp_path / "learner", meta_learner)
    back = load_meta_learner(tmp_path / "learner")
    assert replace(back, tensors={}).__repr__() == replace(meta_learner, tensors={}).__repr__()
    assert back.tensors.keys() == meta_learner.tensors.keys()
    assert all(torch.equal(back.tensors[n], t) for n, t in meta_learner.tensors.items())


def test_a_meta_learner_whose_tensors_do_not_fit_its_backbone_is_refused(tmp_path):
    meta_learner = a_meta_learner()
    without_bias = {n: t for n, t in meta_learner.tensors.items() if n != "classifier.bias"}
    save_meta_learner(tmp_path / "learner", replace(meta_learner, tensors=without_bias))
    with pytest.raises(CheckpointMismatch, match="do not fit"):
        load_meta_learner(tmp_path / "learner")


def test_a_meta_learners_module_is_a_copy():
    meta_learner = a_meta_learner()
    before = {name: tensor.clone() for name, tensor in meta_learner.tensors.items()}
    module = meta_learner.module().train()
    module(torch.rand(4, 1, 16, 16, generator=seeded(0)))
    for tensor in module.state_dict().values():
        tensor.zero_()
    assert all(torch.equal(meta_learner.tensors[n], t) for n, t in before.items())


def test_a_file_that_names_an_unknown_adaptation_is_refused(tmp_path):
    meta_learner = a_meta_learner()
    object.__setattr__(meta_learner.adaptation, "kind", "magic")
    save_meta_learner(tmp_path / "learner", meta_learner)
    with pytest.raises(CheckpointMismatch):
        load_meta_learner(tmp_path / "learner")


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"steps": -1}, {"lr": 0.0}])
def test_an_impossible_adaptation_is_refused(wrong):
    with pytest.raises(InvalidConfig):
        Adaptation(**wrong)


def test_equal_meta_learners_are_equal_files(tmp_path: Path) -> None:
    files = set()
    for number in range(8):
        path = tmp_path / f"{number}.safetensors"
        save_meta_learner(path, a_meta_learner())
        files.add(path.read_bytes())
    assert len(files) == 1
