"""The release that runs."""

import tomllib
from functools import cache
from pathlib import Path


@cache
def server_version() -> str:
    """The version that pyproject.toml names; the server runs from its checkout, uninstalled."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    return str(tomllib.loads(project.read_text())["project"]["version"])
