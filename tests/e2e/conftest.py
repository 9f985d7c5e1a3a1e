"""Deployments that end with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployment import Deployment
from stands import STANDS, Stand


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


@pytest.fixture(scope="session")
def stand(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """A deployment on the broker that is asked for; all tests on it share it."""
    with STANDS[request.param](tmp_path_factory.mktemp(request.param) / "var") as made:
        yield made
