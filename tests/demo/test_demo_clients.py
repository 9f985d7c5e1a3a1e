"""The digits demo's split of the world, and what one client makes of its part."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from demo import client, digits


def test_no_client_has_a_digit_that_requests_ask_about():
    held = {digit for n in range(1, digits.N_CLIENTS + 1) for digit in digits.client_classes(n)}
    assert held == set(range(7))


def test_every_client_has_three_to_five_different_digits():
    for number in range(1, digits.N_CLIENTS + 1):
        classes = digits.client_classes(number)
        assert 3 <= len(set(classes)) == len(classes) <= 5


def test_a_clients_images_are_of_its_own_classes_alone():
    split = client.own_split((0, 4, 6), torch.Generator().manual_seed(0))
    everything = digits.load_digits().of_classes((0, 4, 6))
    assert len(split.train_labels) + len(split.test_labels) == len(everything.labels)
    assert set(everything.labels.tolist()) == {0, 4, 6}
    assert set(split.train_labels.tolist()) == {0, 1, 2}


def test_the_digits_are_scikit_learns():
    reference = pytest.importorskip("sklearn.datasets").load_digits()
    ours = digits.load_digits()
    np.testing.assert_array_equal(ours.labels, reference.target)
    # Bilinear enlargement by 2 puts 9/16, 3/16, 3/16, 1/16 of four neighbours into each pixel.
    small = reference.images[5] / 16
    by_hand = (9 * small[3, 4] + 3 * small[3, 5] + 3 * small[4, 4] + small[4, 5]) / 16
    assert ours.images[5, 7, 9, 0] == pytest.approx(255 * by_hand, abs=0.51)


def test_a_shift_moves_the_picture_by_at_most_one_pixel():
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 8, 8] = 1.0
    rng = torch.Generator().manual_seed(0)
    places = {
        tuple(torch.nonzero(client.shifted(image, rng)[0, 0] == 1.0)[0].tolist())
        for _ in range(200)
    }
    assert places == {(row, column) for row in (7, 8, 9) for column in (7, 8, 9)}


def test_the_same_client_writes_the_same_bytes_again(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(client, "EPOCHS", 1)
    first, _ = client.make_checkpoint(2, tmp_path / "first")
    second, _ = client.make_checkpoint(2, tmp_path / "second")
    assert first.suffix == ".pt"
    assert first.read_bytes() == second.read_bytes()


def test_a_client_writes_weights_and_a_manifest_that_fit_each_other(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(client, "EPOCHS", 1)
    checkpoint, manifest = client.make_checkpoint(1, tmp_path)
    assert checkpoint.suffix == ".safetensors"
    assert json.loads(checkpoint.with_suffix(".json").read_text()) == manifest
    assert len(load_file(checkpoint)["classifier.weight"]) == len(manifest["class_names"])


def test_a_clients_network_is_the_backbone_its_manifest_names(tmp_path: Path, monkeypatch):
    """The server's own Conv4, given the client's weights, answers as the client's network."""
    from demo.baselines import manifest_of
    from demo.pool_dir import read_pool
    from ml.checkpoints import load_teacher

    monkeypatch.setattr(client, "EPOCHS", 1)
    checkpoint, _ = client.make_checkpoint(3, tmp_path)
    (paired,), _ = read_pool(tmp_path)
    teacher = load_teacher(paired.path, manifest_of(paired))
    own = client.Conv4(teacher.n_classes, torch.Generator())
    own.load_state_dict(load_file(checkpoint))
    own.eval()
    images = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = own((images - client.MEAN) / client.STD)
    torch.testing.assert_close(teacher.logits(images), expected)
