"""Labelled images: what is in the file is what comes out; what cannot be used says why."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.data import BenchmarkError, joined, read_labelled

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = np.array([0, 0, 1, 1, 2, 2], dtype=np.int32)
NAMES = np.array(["ant", "bee", "cow"])


def write_npz(path: Path, **changes: np.ndarray) -> Path:
    arrays = {"images": PIXELS, "labels": LABELS, "class_names": NAMES, **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_an_archive_comes_back_channels_first_with_its_labels_and_names(tmp_path: Path) -> None:
    data = read_labelled(write_npz(tmp_path / "a.npz"))
    assert data.images.dtype == torch.uint8
    assert data.labels.dtype == torch.int64
    assert data.class_names == ("ant", "bee", "cow")
    assert np.array_equal(data.images.numpy(), np.moveaxis(PIXELS, 3, 1))
    assert data.floats().dtype == torch.float32
    assert data.floats()[3, 1, 2, 5].item() == pytest.approx(PIXELS[3, 2, 5, 1] / 255)


def test_some_classes_are_taken_without_renaming_their_labels(tmp_path: Path) -> None:
    some = read_labelled(write_npz(tmp_path / "a.npz")).of_classes((2, 0))
    assert some.labels.tolist() == [0, 0, 2, 2]
    assert np.array_equal(some.images[2].numpy(), np.moveaxis(PIXELS[4], 2, 0))
    assert some.class_names == ("ant", "bee", "cow")


def test_classes_of_joined_sources_stay_apart_even_under_one_name(tmp_path: Path) -> None:
    one = read_labelled(write_npz(tmp_path / "a.npz"))
    both = joined([one, one])
    assert both.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert both.class_names == ("ant", "bee", "cow") * 2
    assert torch.equal(both.images[6:], one.images)
    smaller = read_labelled(tmp_path / "a.npz", image_size=4)
    with pytest.raises(BenchmarkError, match="3x4x4, 3x8x8"):
        joined([one, smaller])


def test_resizing_and_greying_is_pillows(tmp_path: Path) -> None:
    data = read_labelled(write_npz(tmp_path / "a.npz"), image_size=4, channels=1)
    small = Image.fromarray(PIXELS[5]).resize((4, 4), Image.Resampling.BILINEAR).convert("L")
    assert data.images.shape == (6, 1, 4, 4)
    assert np.array_equal(data.images[5, 0].numpy(), np.array(small))


def test_grey_images_become_three_equal_channels(tmp_path: Path) -> None:
    data = read_labelled(write_npz(tmp_path / "a.npz", images=PIXELS[..., :1]), channels=3)
    for channel in range(3):
        assert np.array_equal(data.images[:, channel].numpy(), PIXELS[..., 0])


def test_a_folder_is_read_by_name_whatever_the_formats_modes_and_sizes(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
    Image.fromarray(PIXELS[0]).save(tmp_path / "b" / "1.png")
    Image.fromarray(PIXELS[1][:6]).convert("RGBA").save(tmp_path / "a" / "2.PNG")
    Image.fromarray(PIXELS[2]).convert("L").save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    data = read_labelled(tmp_path, image_size=8)
    assert data.class_names == ("a", "b")
    assert data.labels.tolist() == [0, 0, 1]
    assert np.array_equal(data.images[2].numpy(), np.moveaxis(PIXELS[0], 2, 0))
    grey = np.array(Image.fromarray(PIXELS[2]).convert("L"))
    assert np.array_equal(data.images[0, 1].numpy(), grey)
    with pytest.raises(BenchmarkError, match="say an image size"):
        read_labelled(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, "has no `labels`"),
        ({"images": PIXELS.astype(np.float32)}, "`images` is float32"),
        ({"images": PIXELS[..., :2]}, "`images` is uint8 of shape"),
        ({"labels": LABELS[:3]}, "of shape .* for 6 images"),
        ({"labels": LABELS + 1}, "labels run from 1 to 3"),
        ({"images": PIXELS[:0], "labels": LABELS[:0]}, "no images"),
        ({"class_names": np.array(["ant", "ant", "cow"])}, "repeat a name"),
        ({"class_names": np.array(["ant", "bee", "cow"], dtype=object)}, "without pickles"),
    ],
)
def test_an_archive_that_cannot_be_used_says_what_it_needs(
    tmp_path: Path, changes: dict[str, np.ndarray], said: str
) -> None:
    with pytest.raises(BenchmarkError, match=said) as refusal:
        read_labelled(write_npz(tmp_path / "a.npz", **changes))
    assert "It needs `images`" in str(refusal.value)


def test_what_is_no_source_at_all_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    (tmp_path / "bare").mkdir()
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "1.jpg").write_bytes(b"no image")
    for name, said in {
        "absent.npz": "does not exist",
        "broken.npz": "no readable .npz",
        "folder": "remove it",
        "bare": "make one for each class",
        "photos": "replace or remove it",
    }.items():
        with pytest.raises(BenchmarkError, match=said):
            read_labelled(tmp_path / name)
    with pytest.raises(BenchmarkError, match="1 or 3 channels"):
        read_labelled(write_npz(tmp_path / "a.npz"), channels=2)
    with pytest.raises(BenchmarkError, match="at least 1 pixel"):
        read_labelled(tmp_path / "a.npz", image_size=0)
