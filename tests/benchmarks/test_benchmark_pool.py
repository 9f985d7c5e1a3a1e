"""A directory of checkpoints becomes teachers, or a message that says what to do."""

from pathlib import Path

import pytest
import torch

from benchmarks.data import BenchmarkError
from benchmarks.pool import find_pool, read_pool
from tests.benchmarks.toy_bench import write_pool

CPU = torch.device("cpu")


def test_a_pool_is_read_in_the_order_of_its_names_with_its_manifests(tmp_path: Path) -> None:
    pool = read_pool(write_pool(tmp_path), "mine", CPU)
    assert pool.teacher_names == ("model-0", "model-1", "model-2")
    assert pool.teachers[1].class_names == ("class 1 0", "class 1 1", "class 1 2")
    assert (pool.teachers[0].image_size, pool.teachers[0].std) == (16, (0.25,))
    assert pool.facts()["models"] == 3


def test_a_changed_checkpoint_or_manifest_changes_the_pools_hash(tmp_path: Path) -> None:
    before = read_pool(write_pool(tmp_path), "mine", CPU).sha256
    assert read_pool(tmp_path, "mine", CPU).sha256 == before
    manifest = tmp_path / "model-1.json"
    manifest.write_text(manifest.read_text().replace("0.25", "0.26"))
    assert read_pool(tmp_path, "mine", CPU).sha256 != before


def test_a_pool_is_found_by_name_or_as_the_directory_itself(tmp_path: Path) -> None:
    inner = write_pool(tmp_path / "mine")
    assert find_pool(tmp_path, "mine") == inner
    assert find_pool(inner, "mine") == inner
    with pytest.raises(BenchmarkError, match="no pool 'yours'"):
        find_pool(tmp_path, "yours")


def test_a_missing_or_unfitting_manifest_is_named(tmp_path: Path) -> None:
    write_pool(tmp_path)
    manifest = tmp_path / "model-2.json"
    manifest.write_text(manifest.read_text().replace("conv4", "resnet10"))
    with pytest.raises(BenchmarkError, match=r"model-2.safetensors and its manifest do not fit"):
        read_pool(tmp_path, "mine", CPU)
    manifest.unlink()
    with pytest.raises(BenchmarkError, match=r"put model-2.json beside it"):
        read_pool(tmp_path, "mine", CPU)
