"""The pages say what the code does: settings, routes, error codes, functions, links."""

import importlib
import json
import re
from pathlib import Path

import pytest

from ml.backbones import BACKBONES
from pool.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "client" / "README.md"])


def test_the_readme_names_every_setting_and_no_other() -> None:
    named = set(re.findall(r"`MODELPOOL_([A-Z0-9_]+)`", (ROOT / "README.md").read_text()))
    assert named == {name.upper() for name in Settings.model_fields}


def test_the_readme_names_every_backbone() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in BACKBONES if f"`{name}`" not in text] == []


def test_the_committed_openapi_document_is_the_codes(tmp_path: Path) -> None:
    from app.main import create_app

    committed = json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert committed == json.loads(json.dumps(create_app(Settings(var=tmp_path)).openapi())), (
        "run `make openapi` and look at the difference"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    broken = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:app|worker|pool|ml|client|demo|benchmarks|tests|migrations|docs)/[\w/.-]+)`",
        page.read_text(),
    )
    assert [name for name in named if not list(ROOT.glob(f"{name}*"))] == []


def test_the_clients_readme_names_every_command_and_exit_code() -> None:
    from modelpool.cli.exits import Exit
    from modelpool.cli.main import app

    text = (ROOT / "client" / "README.md").read_text()
    names = [each.name or each.callback.__name__ for each in app.registered_commands]
    names += [each.name for each in app.registered_groups]
    assert [name for name in names if f"`{name}`" not in text] == []
    codes = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert codes == [str(int(code)) for code in Exit]


def test_every_function_that_an_algorithms_page_names_exists() -> None:
    missing = []
    for page in (ROOT / "docs" / "algorithms").glob("*.md"):
        for name in set(re.findall(r"`(ml(?:\.\w+){2,})`", page.read_text())):
            if not _resolves(name):
                missing.append(f"{page.name}: {name}")
    assert missing == []


def _resolves(name: str) -> bool:
    """Whether a dotted name is a module or an attribute of one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part) and part not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, part, None)
        return True
    return False


def test_every_word_of_the_glossary_that_is_banned_stays_out_of_the_names_of_code() -> None:
    banned = re.compile(r"\b(fast_weights|train_once|final_model|num_sup_kd)\b")
    offenders = [
        path.relative_to(ROOT).as_posix()
        for package in ("app", "worker", "pool", "ml", "demo", "benchmarks", "client")
        for path in (ROOT / package).rglob("*.py")
        if banned.search(path.read_text()) or path.stem in ("utils", "helpers", "common", "misc")
    ]
    assert offenders == []
