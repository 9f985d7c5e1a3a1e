"""A file that cannot be written is told by its cause."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from ml.tensor_files import write_tensors


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_the_disk_does_not_take_is_an_error_of_the_system_with_its_number(
    tmp_path: Path,
) -> None:
    with largest_file(10_000), pytest.raises(OSError, match="cannot be written") as raised:
        write_tensors(tmp_path / "a", {"zeros": torch.zeros(100_000)}, {})
    assert raised.value.errno == errno.EFBIG


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", {"ones": torch.ones(3)}, {"said": "so"})
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert file.metadata() == {"said": "so"}
        assert torch.equal(file.get_tensor("ones"), torch.ones(3))
