import os
from pathlib import Path

import pytest
from toy_pool import toy_teacher

from ml.types import Teacher


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pools and images; tests that need it are skipped where it is not."""
    beside = Path(__file__).parents[3] / "shared"
    folder = Path(os.environ.get("MODELPOOL_SHARED", beside))
    if not folder.is_dir():
        pytest.skip("no shared folder of real pools and images")
    return folder


@pytest.fixture(scope="session")
def toy_teachers() -> list[Teacher]:
    """Four teachers of 16 pixels and one channel, of 3 classes out of ten."""
    chosen = [(0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8)]
    return [toy_teacher(directions, seed=i) for i, directions in enumerate(chosen)]
