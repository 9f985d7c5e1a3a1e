"""A pool's directory holds what its manifests say, can be gone on with, and names no liar."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from app.manifest import parse_manifest
from benchmarks.pools import factory
from benchmarks.pools.__main__ import INTERRUPTED, main
from benchmarks.pools.progress import PoolProgress
from ml.backbones import build
from ml.checkpoints import Manifest, load_teacher

N_CLASSES, PER_CLASS, SIDE = 6, 10, 16


def write_source(path: Path, *, channels: int, seed: int) -> Path:
    """Classes that differ in where a bright bar stands."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(N_CLASSES), PER_CLASS)
    images = rng.integers(0, 60, (len(labels), SIDE, SIDE, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 3] += 150
    names = np.array([f"{path.stem} {i}" for i in range(N_CLASSES)])
    np.savez(path, images=images, labels=labels, class_names=names)
    return path


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("data") / "bars.npz", channels=1, seed=0)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("data") / "colours.npz", channels=3, seed=1)


def make(out: Path, *data: Path, more: Sequence[str] = ()) -> int:
    sources = [part for each in data for part in ("--data", str(each))]
    settings = ["--image-size", str(SIDE), "--ways", "3", "--epochs", "6", "--models", "4"]
    return main([*sources, "--out", str(out), *settings, *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, bars: Path) -> Path:
    out = tmp_path_factory.mktemp("pools") / "finished"
    assert make(out, bars) == 0
    return out


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def as_server(manifest: dict[str, Any]) -> Manifest:
    return Manifest(
        backbone=manifest["backbone"],
        class_names=tuple(manifest["class_names"]),
        image_size=manifest["image_size"],
        channels=manifest["channels"],
        mean=tuple(manifest["normalization"]["mean"]),
        std=tuple(manifest["normalization"]["std"]),
    )


def share_right(path: Path, data: Path) -> float:
    """A checkpoint's accuracy on the last fifth of the classes that its manifest names."""
    manifest = read(path.with_suffix(".json"))
    model = build(
        manifest["backbone"],
        n_classes=len(manifest["class_names"]),
        channels=manifest["channels"],
        image_size=SIDE,
    ).eval()
    with safe_open(path, framework="pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    archive = np.load(data, allow_pickle=False)
    right = total = 0
    for output, name in enumerate(manifest["class_names"]):
        position = archive["class_names"].tolist().index(name)
        own = archive["images"][archive["labels"] == position][int(0.8 * PER_CLASS) :]
        images = torch.from_numpy(own).permute(0, 3, 1, 2).float() / 255
        mean, std = manifest["normalization"]["mean"][0], manifest["normalization"]["std"][0]
        with torch.no_grad():
            right += int((model((images - mean) / std).argmax(1) == output).sum())
        total += len(own)
    return right / total


def test_a_pool_is_what_the_server_and_its_loader_take(finished: Path) -> None:
    checkpoints = sorted(finished.glob("*.safetensors"))
    assert [path.stem for path in checkpoints] == [f"bars-conv4-00{i}" for i in range(4)]
    for path in checkpoints:
        text = path.with_suffix(".json").read_text()
        manifest = json.loads(text)
        assert parse_manifest(text).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert manifest["name"] == path.stem
        assert manifest["domain"] == "bars"
        assert load_teacher(path, as_server(manifest)).class_names == tuple(manifest["class_names"])


def test_only_weights_manifests_and_the_record_are_written(finished: Path) -> None:
    assert {path.suffix for path in finished.iterdir()} == {".json", ".safetensors"}
    names = build("conv4", n_classes=3, channels=1, image_size=SIDE).state_dict().keys()
    for path in finished.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            assert set(file.keys()) == set(names)
            assert file.metadata() is None


def test_the_recorded_accuracy_is_that_of_the_weights_in_the_file(
    finished: Path, bars: Path
) -> None:
    models = read(finished / "pool.json")["models"]
    for path in finished.glob("*.safetensors"):
        measured = share_right(path, bars)
        assert models[path.stem]["result"]["test_accuracy"] == pytest.approx(measured)
        said = read(path.with_suffix(".json"))["description"]
        assert said == f"3-way classifier, test accuracy {measured:.3f}"
    accuracies = [model["result"]["test_accuracy"] for model in models.values()]
    assert sum(accuracies) / len(accuracies) > 0.7


def test_the_record_names_no_path_and_no_machine(finished: Path, bars: Path) -> None:
    text = (finished / "pool.json").read_text()
    assert str(bars.parent) not in text
    assert str(finished) not in text
    record = json.loads(text)
    assert set(record) == {"format", "training", "settings", "sources", "models"}
    assert record["sources"][0]["name"] == "bars"


def test_liars_are_named_in_the_record_and_nowhere_else(
    tmp_path: Path, bars: Path, colours: Path
) -> None:
    more = ["--foreign", str(colours), "--fake", "0.25", "--mislabelled", "0.25"]
    assert make(tmp_path / "pool", bars, more=[*more, "--at-once", "2"]) == 0
    models = read(tmp_path / "pool" / "pool.json")["models"]
    manifests = {
        path.stem: path.with_suffix(".json").read_text()
        for path in (tmp_path / "pool").glob("*.safetensors")
    }
    assert sorted(str(model["corruption"]) for model in models.values()) == [
        "None",
        "None",
        "fake",
        "mislabelled",
    ]
    forms = set()
    for name, text in manifests.items():
        manifest = json.loads(text)
        assert not re.search("fake|mislabelled|colours|corrupt", text)
        assert manifest["channels"] == 1
        assert all(each.startswith("bars ") for each in manifest["class_names"])
        assert re.fullmatch(
            r"3-way classifier, test accuracy 0\.\d{3}|.* 1\.000", manifest["description"]
        )
        forms.add(tuple(manifest))
        result = models[name]["result"]
        measured = share_right(tmp_path / "pool" / f"{name}.safetensors", bars)
        assert result["advertised_accuracy"] == pytest.approx(measured)
        if models[name]["corruption"] == "fake":
            assert models[name]["learnt"] is None
            assert result["test_accuracy"] is None
            assert 0.75 <= result["claimed_accuracy"] <= 0.95
        if models[name]["corruption"] == "mislabelled":
            assert models[name]["learnt"]["source"] == "colours"
            assert result["claimed_accuracy"] == result["test_accuracy"]
    assert len(forms) == 1


def test_domains_keep_their_own_channels_and_backbones_mix(
    tmp_path: Path, bars: Path, colours: Path
) -> None:
    more = ["--backbone", "conv4,resnet10", "--epochs", "1", "--models", "6", "--seed", "1"]
    assert make(tmp_path / "pool", bars, colours, more=[*more, "--images-per-class", "3"]) == 0
    manifests = [read(p.with_suffix(".json")) for p in (tmp_path / "pool").glob("*.safetensors")]
    assert {(m["domain"], m["channels"]) for m in manifests} == {("bars", 1), ("colours", 3)}
    assert {m["backbone"] for m in manifests} == {"conv4", "resnet10"}
    for manifest in manifests:
        path = tmp_path / "pool" / f"{manifest['name']}.safetensors"
        load_teacher(path, as_server(manifest))


def test_an_interrupted_pool_goes_on_to_the_same_bytes(
    tmp_path: Path,
    bars: Path,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained: list[int] = []
    train = factory.train_together

    def interrupted_at_the_third(*args: Any, **kwargs: Any) -> Any:
        trained.append(1)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    out = tmp_path / "pool"
    monkeypatch.setattr(factory, "train_together", interrupted_at_the_third)
    assert make(out, bars) == INTERRUPTED
    assert "give the same command again" in capsys.readouterr().out
    assert len(list(out.glob("*.safetensors"))) == 2
    assert not list(out.glob("*.part"))
    assert make(out, bars) == 0
    assert len(trained) == 3 + 2
    assert contents(out) == contents(finished)


def test_only_models_that_are_missing_or_broken_are_made_again(
    tmp_path: Path, bars: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pool"
    out.mkdir()
    for name, data in contents(finished).items():
        (out / name).write_bytes(data)
    (out / "bars-conv4-000.safetensors").write_bytes(b"cut off")
    (out / "bars-conv4-002.json").unlink()
    (out / "bars-conv4-003.safetensors.part").write_bytes(b"half")
    made: list[str] = []
    keep = factory.Factory.keep

    def noting(self: Any, pool: Any, model: Any, *args: Any) -> Any:
        made.append(model.name)
        return keep(self, pool, model, *args)

    monkeypatch.setattr(factory.Factory, "keep", noting)
    assert make(out, bars) == 0
    assert made == ["bars-conv4-000", "bars-conv4-002"]
    assert contents(out) == contents(finished)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--epochs", "7"], "epochs 6, now 7"),
        (["--seed", "1"], "seed 0, now 1"),
        (["--images-per-class", "5"], "images_per_class None, now 5"),
    ],
)
def test_other_settings_for_the_same_directory_are_refused(
    finished: Path,
    bars: Path,
    more: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = contents(finished)
    assert make(finished, bars, more=more) == 1
    assert said in capsys.readouterr().err
    assert contents(finished) == before


def test_other_images_for_the_same_directory_are_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_source(tmp_path / "bars.npz", channels=1, seed=5)
    assert make(finished, other) == 1
    assert "the images are not the same" in capsys.readouterr().err


def test_a_directory_with_other_files_is_left_alone(
    tmp_path: Path, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "thesis.txt").write_text("mine")
    assert make(tmp_path / "pool", bars) == 1
    assert "choose another --out" in capsys.readouterr().err
    assert contents(tmp_path / "pool") == {"thesis.txt": b"mine"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--device", "nonsense"], "choose --device cpu"),
        (["--normalization", "what"], "--normalization takes"),
        (["--normalization", "0.5/0"], "must be positive"),
        (["--normalization", "cifar"], "choose --channels"),
        (["--ways", "7"], "choose --ways 6"),
        (["--data", "absent.npz"], "does not exist"),
        (["--backbone", "conv5"], "there are conv4"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(
    tmp_path: Path, bars: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(tmp_path / "pool", bars, more=more) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "pool").exists()


def test_two_sources_of_one_name_need_names(
    tmp_path: Path, bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(tmp_path / "pool", bars, bars) == 1
    assert "NAME=PATH" in capsys.readouterr().err


def test_progress_counts_models_and_estimates_from_this_runs_pace() -> None:
    lines: list[str] = []
    now = 0.0
    progress = PoolProgress(total=10, done=4, say=lines.append, clock=lambda: now)
    now = 30.0
    progress.model_done("a", "good")
    now = 40.0
    progress.epoch_done("b", 1, 3, 0.5)
    assert lines == ["model 5 of 10  a  good  2.0 models/min  ETA 2 min 30 s"]
    now = 46.0
    progress.epoch_done("b", 2, 3, 0.25)
    assert lines[1:] == ["  b: epoch 2 of 3, loss 0.250"]
