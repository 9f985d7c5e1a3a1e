"""A live server for the client's tests, one a module; nobody's own login is touched."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live_pool import LivePool, live_pool
from terminal import Terminal
from typer.testing import CliRunner, Result

from modelpool import Client
from modelpool.cli.main import app
from tests.factories import small_checkpoint, small_manifest


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePool]:
    """A deployment, its worker at work."""
    with live_pool(tmp_path_factory.mktemp("deployment") / "var") as made:
        yield made


@pytest.fixture
def client(pool: LivePool) -> Iterator[Client]:
    """Somebody whose key may do everything."""
    with Client(pool.url, pool.key) as made:
        yield made


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, so that no login of the developer's is read or written."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def logged_in(pool: LivePool, monkeypatch: pytest.MonkeyPatch) -> LivePool:
    """The environment names server and key."""
    monkeypatch.setenv("MODELPOOL_URL", pool.url)
    monkeypatch.setenv("MODELPOOL_KEY", pool.key)
    return pool


@pytest.fixture
def run() -> Callable[..., Result]:
    """A command without a terminal, in this process; its output, its errors, its exit code."""
    runner = CliRunner()
    return lambda *words, **options: runner.invoke(app, [str(word) for word in words], **options)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start a command in a pseudo-terminal; whatever still runs at the end is ended."""
    opened: list[Terminal] = []

    def start(*words: object) -> Terminal:
        opened.append(Terminal(*words, cwd=tmp_path, env=dict(os.environ)))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def two_models(pool: LivePool, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models of the pool that are ready; their ids."""
    ids = []
    with Client(pool.url, pool.key) as client:
        for seed in (101, 102):
            path = tmp_path_factory.mktemp("models") / f"{seed}.safetensors"
            path.write_bytes(small_checkpoint(seed))
            model = client.push(path, small_manifest(f"first {seed}"))  # type: ignore[arg-type]
            assert model["status"] == "ready", model
            ids.append(model["id"])
    return ids
