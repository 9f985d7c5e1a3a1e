"""Dockerfile and compose.yaml, checked as far as a machine without Docker can."""

import re
from pathlib import Path

import yaml

from pool.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def test_compose_sets_only_settings_that_exist_and_satisfies_production() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    environment = compose["x-server"]["environment"]
    fields = {name.removeprefix("MODELPOOL_").lower(): str(v) for name, v in environment.items()}
    assert set(fields) <= set(Settings.model_fields)
    filled = {
        name: re.sub(r"\$\{[^}]*\}", "mp_secret-secret-secret-secret", value)
        for name, value in fields.items()
    }
    assert Settings(**filled).environment == "production"


def test_every_third_party_image_is_pinned_by_tag() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    images = [service["image"] for service in compose["services"].values() if "image" in service]
    assert images
    assert [image for image in images if not re.search(r":[\w.-]*\d", image)] == []


def test_every_service_that_another_waits_for_exists() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)


def test_the_image_copies_every_package_that_its_commands_need_and_runs_unprivileged() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for package in ("app", "worker", "pool", "ml", "migrations"):
        assert f"COPY {package} " in text
    assert re.search(r"^USER (?!root)\w+", text, re.MULTILINE)
    assert (ROOT / ".dockerignore").read_text().startswith("*")
