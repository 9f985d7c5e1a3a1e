"""The house keeps its shape: small files, no index address, no binary, ml on its own."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "worker", "pool", "ml", "demo", "benchmarks", "client/src/modelpool")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_files_hold_one_idea() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in SOURCES
        if (lines := len(path.read_text().splitlines()))
        > (400 if "algorithms" in path.parts else 300)
    }
    assert long == {}


def test_functions_fit_on_a_page() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.name} ({node.end_lineno - node.lineno})"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno > 60
    ]
    assert long == []


def test_no_file_names_a_package_index_or_a_machines_path() -> None:
    host = re.compile("https?://[a-z.]*(py" + "pi|python" + "hosted|npm" + "js|debian)[a-z.]*")
    offenders = [
        path.relative_to(ROOT).as_posix()
        for path in tracked()
        if path.is_file() and host.search(path.read_text(errors="ignore"))
    ]
    assert offenders == []


def test_no_checkpoint_image_or_archive_is_committed() -> None:
    binary = {".pt", ".pth", ".safetensors", ".npz", ".png", ".jpg", ".zip", ".woff2", ".min.js"}
    tutorials = ROOT / "docs" / "tutorials" / "images"  # taken by `make screenshots`
    found = [path for path in tracked() if path.suffix in binary and path.parent != tutorials]
    assert [path.name for path in found] == []


def test_the_tutorials_pictures_are_small_and_all_of_them_are_shown() -> None:
    tutorials = ROOT / "docs" / "tutorials"
    shown = {
        name
        for page in tutorials.glob("*.md")
        for name in re.findall(r"\]\((images/[^)]+)\)", page.read_text())
    }
    taken = {f"images/{path.name}" for path in (tutorials / "images").glob("*.png")}
    assert shown == taken
    assert max(path.stat().st_size for path in (tutorials / "images").glob("*.png")) < 100_000


def test_every_pinned_package_carries_a_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        entries = re.split(r"\n(?=[a-zA-Z0-9])", (ROOT / name).read_text())
        pinned = [entry for entry in entries if "==" in entry.split("\n")[0]]
        assert pinned
        assert [entry.split()[0] for entry in pinned if "--hash=sha256:" not in entry] == []


def test_ml_imports_with_nothing_but_torch_and_its_companions() -> None:
    """Every import of ml that is not its own: on a GPU machine nothing else may be there."""
    allowed = {"ml", "torch", "torchvision", "safetensors", "numpy", "PIL", "jaxtyping"}
    foreign = set()
    exports = {ROOT / "ml" / "portable" / name for name in ("onnx_graph.py", "onnx_file.py")}
    for path in set((ROOT / "ml").rglob("*.py")) - exports:  # nothing else of ml imports those
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            foreign |= {
                top
                for name in names
                if (top := name.split(".")[0]) not in allowed | sys.stdlib_module_names
            }
    assert foreign == set()


def test_the_client_imports_with_nothing_but_what_it_declares() -> None:
    """At module level; torch is an extra, imported where a file is converted."""
    allowed = {"modelpool", "httpx", "typer", "rich", "platformdirs"}
    foreign = set()
    for path in (ROOT / "client" / "src").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            foreign |= {name.split(".")[0] for name in names} - allowed - sys.stdlib_module_names
    assert foreign == set()


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    ran = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:]


def test_every_command_of_the_image_and_the_procfile_names_code_that_exists() -> None:
    for name in ("Dockerfile", "compose.yaml", "Procfile"):
        text = (ROOT / name).read_text()
        modules = re.findall(r"(?:-m|-A)[\" ,]+((?:app|worker|pool)\.\w+)", text)
        assert modules, name
        for module in modules:
            assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), (name, module)
