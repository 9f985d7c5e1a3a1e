"""Every hostile file is refused by its own code, without its pickle being executed."""

import os
import resource
from pathlib import Path

import airlock_forge as forge
import pytest
from airlock_hostile import HOSTILE, RunsCommand, saved

from pool.airlock import CATALOGUE, Limits, Refused, convert

TESTED_ELSEWHERE = {"not-a-file", "file-too-large", "output-too-large"} | {
    "airlock-limit",
    "airlock-fault",
}


def refusal_of(data: bytes, folder: Path, limits: Limits | None = None) -> Refused:
    source, target = folder / "upload", folder / "canonical"
    source.write_bytes(data)
    with pytest.raises(Refused) as caught:
        convert(source, target, limits=limits or Limits())
    assert [path.name for path in folder.iterdir()] == ["upload"]
    return caught.value


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_by_its_own_code_and_leaves_no_file(
    name: str, tmp_path: Path
) -> None:
    code, build = HOSTILE[name]
    refusal = refusal_of(build(), tmp_path)
    assert refusal.code == code
    assert refusal.reason.endswith(".")
    assert refusal.reason.isascii()
    assert refusal.reason.isprintable()
    assert len(refusal.reason) < 300
    assert refusal.recipe


def test_the_hostile_files_cover_the_whole_catalogue() -> None:
    assert {code for code, _ in HOSTILE.values()} == set(CATALOGUE) - TESTED_ELSEWHERE


@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"model": {"w": evil}}])
def test_a_pickle_that_would_run_a_command_is_refused_and_the_command_never_runs(
    wrap, tmp_path: Path
) -> None:
    marker = tmp_path.parent / f"{tmp_path.name}-was-executed"
    refusal = refusal_of(saved(wrap(RunsCommand(f"touch {marker}"))), tmp_path)
    assert refusal.code == "unknown-global"
    assert "system" in refusal.reason
    assert not marker.exists()


def test_a_link_a_pipe_and_a_folder_are_refused(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.write_bytes(forge.valid_zip())
    link.symlink_to(real)
    os.mkfifo(pipe)
    for path in (link, pipe, tmp_path):
        with pytest.raises(Refused) as caught:
            convert(path, tmp_path / "canonical")
        assert caught.value.code == "not-a-file"


def test_a_file_above_the_source_limit_is_refused(tmp_path: Path) -> None:
    refusal = refusal_of(forge.valid_zip(), tmp_path, Limits(max_source_bytes=100))
    assert refusal.code == "file-too-large"


def test_tensors_above_the_output_limit_are_refused(tmp_path: Path) -> None:
    refusal = refusal_of(forge.valid_safetensors(), tmp_path, Limits(max_output_bytes=15))
    assert refusal.code == "output-too-large"
    assert "16" in refusal.reason


def test_a_refusal_late_in_the_data_leaves_no_partial_file(tmp_path: Path) -> None:
    good, bad = bytes(64), b"\x00\x00\xc0\x7f"
    header = {"a": forge.entry("F32", [16], 0, 64), "b": forge.entry("F32", [1], 64, 68)}
    data = forge.safetensors(header, good + bad)
    assert refusal_of(data, tmp_path, Limits(block_bytes=8)).code == "non-finite-weights"


def test_no_hostile_file_raises_this_process_s_memory_by_half_a_gibibyte(tmp_path: Path) -> None:
    """The stride bomb claims 4 TB, the aliases 300 MB, the deflated entry 200 MB."""
    corpus = {name: HOSTILE[name][1]() for name in ("stride bomb", "storage aliased 300 times")}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in corpus.values():
        refusal_of(data, tmp_path)
        (tmp_path / "upload").unlink()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
