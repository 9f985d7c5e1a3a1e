"""docs/API.md: every block of Python in it runs, one after the other, against a live server."""

import re
from pathlib import Path
from typing import Any

import pytest
from images_of import class_folders, png
from live_pool import LivePool

from tests.factories import small_checkpoint

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "API.md"


def test_the_guides_examples_run_as_they_stand(
    logged_in: LivePool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("ward-3", "ward-4")):
        (tmp_path / f"{name}.safetensors").write_bytes(small_checkpoint(seed))
    class_folders(tmp_path / "few")
    (tmp_path / "photos").mkdir()
    for shade in (20, 230):
        (tmp_path / "photos" / f"{shade}.png").write_bytes(png(shade))
    text = GUIDE.read_text()
    names: dict[str, Any] = {}
    for found in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        line = text[: found.start()].count("\n") + 1
        # Lines of the page, so that a failure points there.
        exec(compile("\n" * line + found[1], str(GUIDE), "exec"), names)
    said = capsys.readouterr().out
    assert "ward 3" not in said  # the names are those of the loop
    assert "ward-3 ready" in said
    assert "invalid-input" in said
    assert [p["label"] for p in names["answer"]["predictions"]] == ["dark", "bright"]
    assert names["named"].as_numpy("labels").tolist() == [b"dark", b"bright"]
