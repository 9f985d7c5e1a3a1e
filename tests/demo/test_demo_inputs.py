"""What a user hands to the demo: a pool directory, an .npz file, a command line."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demo.__main__ import read_options
from demo.episodes import Slides, check_enough, draw_episodes
from demo.errors import DemoError
from demo.images import LabelledImages, encode_png, read_npz
from demo.plan import pool_warnings
from demo.pool_dir import Checkpoint, read_pool

CONTENT = {
    "images": np.zeros((4, 2, 2, 3), np.uint8),
    "labels": np.array([0, 0, 1, 1]),
    "class_names": np.array(["cat", "dog"]),
}


def pool(directory: Path, **files: object) -> Path:
    for name, content in files.items():
        stem, _, suffix = name.rpartition("_")
        text = json.dumps(content) if suffix == "json" else ""
        (directory / f"{stem}.{suffix}").write_text(text)
    return directory


def labelled(n_classes: int, per_class: int) -> LabelledImages:
    labels = np.repeat(np.arange(n_classes), per_class)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return LabelledImages(
        images=np.tile(images, (1, 2, 2, 1)),
        labels=labels,
        class_names=tuple(f"class {n}" for n in range(n_classes)),
    )


def test_checkpoints_are_paired_with_the_manifest_of_their_name(tmp_path: Path):
    pool(tmp_path, a_pt="", a_json={"name": "A"}, b_safetensors="", b_json={"name": "B"}, c_pth="")
    paired, alone = read_pool(tmp_path)
    assert [(each.path.name, each.manifest["name"]) for each in paired] == [
        ("a.pt", "A"),
        ("b.safetensors", "B"),
    ]
    assert alone == [tmp_path / "c.pth"]


def test_a_manifest_is_uploaded_to_the_demos_own_pool(tmp_path: Path):
    (paired,), _ = read_pool(pool(tmp_path, a_pt="", a_json={"name": "A", "pool": "hospital"}))
    assert paired.manifest["pool"] == "default"


def test_a_directory_without_pairs_is_refused(tmp_path: Path):
    with pytest.raises(DemoError, match=r"NAME\.json"):
        read_pool(pool(tmp_path, a_pt="", b_json={}))


def test_a_manifest_that_is_no_json_is_named(tmp_path: Path):
    pool(tmp_path, a_pt="")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DemoError, match=r"a\.json is no JSON"):
        read_pool(tmp_path)


def test_labelled_images_are_read_as_they_were_written(tmp_path: Path):
    np.savez(tmp_path / "data.npz", **CONTENT)
    read = read_npz(tmp_path / "data.npz")
    assert read.class_names == ("cat", "dog")
    assert not read.grouped
    np.testing.assert_array_equal(read.labels, CONTENT["labels"])


@pytest.mark.parametrize("key", ["images", "labels", "class_names"])
def test_a_missing_key_is_named(tmp_path: Path, key: str):
    np.savez(tmp_path / "data.npz", **{k: v for k, v in CONTENT.items() if k != key})
    with pytest.raises(DemoError, match=f"has no `{key}`"):
        read_npz(tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"images": np.zeros((4, 2, 2, 3), np.float32)}, "`images` is float32"),
        ({"images": np.zeros((4, 3, 2, 2), np.uint8)}, "`images` is uint8 of shape"),
        ({"labels": np.array([0, 1])}, "for 4 images"),
        ({"labels": np.array([0.0, 0.0, 1.0, 1.0])}, "`labels` is float64"),
        ({"labels": np.array([0, 0, 1, 2])}, "labels run from 0 to 2"),
        ({"class_names": np.array(["cat", "cat"])}, "repeat a name"),
        ({"class_names": np.array(["cat", None], dtype=object)}, "without pickles"),
    ],
)
def test_images_of_another_form_are_refused(tmp_path: Path, changed: dict, complaint: str):
    np.savez(tmp_path / "data.npz", **{**CONTENT, **changed})
    with pytest.raises(DemoError, match=complaint):
        read_npz(tmp_path / "data.npz")


def test_a_single_array_is_no_archive(tmp_path: Path):
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DemoError, match="cannot be read"):
        read_npz(tmp_path / "data.npz")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(DemoError, match="cannot be read"):
        read_npz(tmp_path / "data.npz")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_very_pixels(channels: int):
    image = np.random.default_rng(0).integers(0, 256, (5, 4, channels), dtype=np.uint8)
    decoded = np.array(Image.open(BytesIO(encode_png(image)))).reshape(5, 4, channels)
    np.testing.assert_array_equal(decoded, image)


def test_an_episode_has_different_images_of_one_class_per_row():
    data = labelled(6, 8)
    rng = torch.Generator().manual_seed(0)
    for draw in draw_episodes(data, n_way=5, n_shot=2, n_query=3, episodes=20, rng=rng):
        labels = data.labels[draw.rows.numpy()]
        assert labels.shape == (5, 5)
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == 5
        assert len(set(draw.support_rows + draw.query_rows)) == 25
        assert len(draw.support_rows) == 10


def test_too_few_classes_or_images_are_named():
    with pytest.raises(DemoError, match="5-way episodes need 5 classes; there are 4"):
        check_enough(labelled(4, 8), n_way=5, per_class=8)
    with pytest.raises(DemoError, match="'class 0' has 8 images; an episode needs 9"):
        check_enough(labelled(5, 8), n_way=5, per_class=9)


def test_baselines_see_the_pixels_that_were_sent():
    data = labelled(2, 3)
    slides = Slides(data)
    slides.png([1, 4])
    images = slides.tensors(size=2, channels=1)
    torch.testing.assert_close(images[:, 0, 0, 0] * 255, torch.tensor([0.0, 1, 0, 0, 4, 0]))
    assert slides.names([1, 4]) == ["class 0", "class 1"]


def test_classes_that_the_pool_knows_are_pointed_out():
    known = Checkpoint(path=Path("a.pt"), manifest={"class_names": ["class 1", "other"]})
    (warning,) = pool_warnings([known], [], labelled(3, 2))
    assert warning.startswith("1 classes of the images are also in the pool (class 1)")


@pytest.mark.parametrize("arguments", [["--pool", "p"], ["--data", "d"], ["--episodes", "1"]])
def test_half_a_request_is_refused_before_anything_starts(arguments: list[str], capsys):
    with pytest.raises(SystemExit):
        read_options(arguments)
    assert "--" in capsys.readouterr().err
