"""A stock of toy images and teachers."""

from pathlib import Path

import pytest
import torch

from benchmarks.stock import Stock
from tests.benchmarks.toy_bench import write_data, write_pool


@pytest.fixture
def stock(tmp_path: Path) -> Stock:
    data, pool = write_data(tmp_path / "data"), write_pool(tmp_path / "toy_pool")
    return Stock(data, pool, torch.device("cpu"))
