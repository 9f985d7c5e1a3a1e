"""Deployments that end with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployment import Deployment


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Make deployments; whatever still runs at the end of the test is killed."""
    made: list[Deployment] = []

    def make(**environment: str) -> Deployment:
        made.append(Deployment(tmp_path / f"var{len(made)}", **environment))
        return made[-1]

    yield make
    for deployment in made:
        deployment.kill()
        deployment.http.close()
