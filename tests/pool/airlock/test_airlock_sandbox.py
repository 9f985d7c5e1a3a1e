"""The child process: its limits hold, its death is a refusal, hostile files cost it little."""

import fcntl
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import airlock_forge as forge
import pytest
import torch
from airlock_hostile import HOSTILE, floats
from safetensors.torch import load_file

from pool.airlock import Limits, Refused, convert, convert_in_sandbox
from pool.airlock.sandbox import CHILD, MAX_VERDICT_BYTES, child_command, run_confined

MIB = 1024 * 1024
BOMBS = [
    "stride bomb",
    "deflate bomb",
    "entries that share bytes",
    "200,000 entries",
    "storage aliased 300 times",
    "one tensor under 300 names",
    "200,000 tensors in a header",
    "200,000 tensors in a pickle",
    "header of nested brackets",
    "pickle of too many instructions",
    "pickle nested deeply",
    "large slice with gaps",
]

# A small process between this one and the child: a child's peak memory, as the kernel counts it,
# begins with that of the process which started it.
LAUNCHER = """
import json, resource, subprocess, sys
output = subprocess.run(sys.argv[1:], env={}, stdout=subprocess.PIPE).stdout
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
cost = {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024}
print(json.dumps({"verdict": json.loads(output), **cost}))
"""

# Loads the child's module by path and prints what the process is left with.
PROBE = f"""
import json, os, resource, runpy
child = runpy.run_path({str(CHILD)!r}, run_name="probe")
child["confine"](memory_bytes=2**29, open_files=32, cpu_seconds=1.5, file_bytes=4096)
names = ("AS", "NOFILE", "CPU", "FSIZE", "CORE")
limits = {{n: resource.getrlimit(getattr(resource, "RLIMIT_" + n)) for n in names}}
print(json.dumps({{"limits": limits, "threads": os.environ["OPENBLAS_NUM_THREADS"]}}))
"""


def python(script: str) -> list[str]:
    return [sys.executable, "-I", "-c", script]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(forge.valid_zip())
    return path


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for large files, which pytest's own would keep for three runs."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def refused_code(source: Path, limits: Limits) -> str:
    target = source.with_name("canonical")
    with pytest.raises(Refused) as caught:
        convert_in_sandbox(source, target, limits=limits)
    assert [path.name for path in source.parent.iterdir()] == [source.name]
    return caught.value.code


def test_the_child_does_what_the_function_does(source: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert convert_in_sandbox(source, there) == convert(source, here)
    assert there.read_bytes() == here.read_bytes()


def test_a_refusal_comes_back_whole(tmp_path: Path) -> None:
    source = tmp_path / "upload"
    source.write_bytes(HOSTILE["full module"][1]())
    refusals = []
    for function in (convert, convert_in_sandbox):
        with pytest.raises(Refused) as caught:
            function(source, tmp_path / "canonical")
        refusals.append((caught.value.code, caught.value.reason, caught.value.recipe))
    assert refusals[0] == refusals[1]


def test_the_child_gives_up_memory_files_time_file_size_and_core_dumps() -> None:
    found = json.loads(run_confined(python(PROBE), wall_seconds=60).output)
    assert found["limits"] == {
        "AS": [2**29, 2**29],
        "NOFILE": [32, 32],
        "CPU": [2, 2],
        "FSIZE": [4096, 4096],
        "CORE": [0, 0],
    }
    assert found["threads"] == "1"


def test_the_child_starts_with_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPOOL_SECRET", "hidden")
    script = (
        "import json, os, sys; print(json.dumps([sorted(os.environ), os.listdir(), os.getcwd(),"
        " os.getsid(0) == os.getpid() == os.getpgid(0), sys.stdin.read()]))"
    )
    outcome = run_confined(python(script), wall_seconds=60)
    environment, files, folder, leads_session, stdin = json.loads(outcome.output)
    assert set(environment) <= {"LC_CTYPE"}  # which Python itself sets where there is no locale
    assert (files, leads_session, stdin) == ([], True, "")
    assert not Path(folder).exists()


def test_the_child_s_budgets_follow_the_limits_and_the_file(source: Path) -> None:
    command = child_command(source, source.with_name("canonical"), Limits(cpu_seconds=7.0))
    confinement = json.loads(command[-2])
    assert confinement["memory_bytes"] == 512 * MIB
    assert confinement["open_files"] == 32
    assert 7.0 < confinement["cpu_seconds"] < 7.1
    assert source.stat().st_size < confinement["file_bytes"] < 16 * MIB
    assert Limits(cpu_seconds=7.0, seconds_per_gib=30.0).cpu_budget(2**31) == 67.0


def test_a_child_short_of_memory_is_a_refusal(tmp_path: Path) -> None:
    """32 MiB of a transposed tensor are held twice; 48 MiB remain beside the interpreter."""
    source = tmp_path / "upload"
    torch.save({"w": torch.zeros(4096, 4096).t()}, source)
    assert refused_code(source, Limits(memory_bytes=170 * MIB, block_bytes=64 * MIB)) == (
        "airlock-limit"
    )


def test_a_child_out_of_processor_time_is_a_refusal(source: Path) -> None:
    assert refused_code(source, Limits(cpu_seconds=0.0, seconds_per_gib=0.0)) == "airlock-limit"


def test_a_child_out_of_time_is_a_refusal(source: Path) -> None:
    assert refused_code(source, Limits(wall_seconds=0.0, seconds_per_gib=0.0)) == "airlock-limit"


def test_a_result_beyond_the_file_size_limit_is_a_refusal(source: Path, tmp_path: Path) -> None:
    command = child_command(source, tmp_path / "canonical", Limits())
    confinement = json.loads(command[-2]) | {"file_bytes": 100}
    outcome = run_confined([*command[:-2], json.dumps(confinement), command[-1]], wall_seconds=60)
    assert json.loads(outcome.output)["refused"]["code"] == "airlock-limit"
    assert [path.name for path in tmp_path.iterdir()] == ["upload"]


def test_a_target_that_cannot_be_written_is_a_fault_not_an_exception(source: Path) -> None:
    with pytest.raises(Refused) as caught:
        convert_in_sandbox(source, source.parent / "missing" / "canonical")
    assert caught.value.code == "airlock-fault"
    assert "ENOENT" in caught.value.reason


@pytest.mark.parametrize(
    "script",
    [
        "raise SystemExit(3)",
        "1 / 0",
        "print('no json')",
        "print('[]')",
        "print('7')",
        "print('{\"converted\": {}}')",
        'print(\'{"refused": {"code": "invented", "reason": "", "recipe": ""}}\')',
        "print('[' * 60000)",
    ],
)
def test_a_child_that_answers_nonsense_is_a_fault(
    script: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.airlock.sandbox.child_command", lambda *_: python(script))
    assert refused_code(source, Limits()) == "airlock-fault"


@pytest.mark.parametrize(
    "script",
    [
        "import os; os.kill(os.getpid(), 11)",
        "import os; os.abort()",
        f"print('x' * {4 * MAX_VERDICT_BYTES})",
    ],
)
def test_a_child_that_dies_or_babbles_is_a_limit(
    script: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pool.airlock.sandbox.child_command", lambda *_: python(script))
    assert refused_code(source, Limits()) == "airlock-limit"


def test_a_child_killed_for_taking_too_long_takes_its_own_children_along(tmp_path: Path) -> None:
    """The grandchild holds a lock on a file; the lock is free once it is dead."""
    lock = tmp_path / "lock"
    script = (
        "import fcntl, os, signal\n"
        f"held = open({str(lock)!r}, 'w'); fcntl.flock(held, fcntl.LOCK_EX)\n"
        "os.fork(); signal.pause()"
    )
    outcome = run_confined(python(script), wall_seconds=1.0)
    assert outcome.returncode is None
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # would wait for ever, and the test time out


def cost_of(source: Path, target: Path) -> dict[str, object]:
    command = child_command(source, target, Limits())
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, *command], stdout=subprocess.PIPE, check=True
    )
    return json.loads(launched.stdout)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_2_seconds_and_512_mebibytes(name: str, tmp_path: Path) -> None:
    code, build = HOSTILE[name]
    (tmp_path / "upload").write_bytes(build())
    cost = cost_of(tmp_path / "upload", tmp_path / "canonical")
    assert cost["verdict"]["refused"]["code"] == code
    assert cost["cpu_s"] < 2.0
    assert cost["peak_bytes"] < 512 * MIB


def test_an_honest_checkpoint_larger_than_the_memory_limit_passes(scratch: Path) -> None:
    """300 MiB stream through 256 MiB of address space; the last number proves the whole way."""
    source, target = scratch / "upload", scratch / "canonical"
    size = 300 * MIB
    raw = json.dumps({"w": forge.entry("F32", [size // 4], 0, size)}).encode()
    with source.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.seek(size - 4, 1)
        file.write(floats(0.5))
    report = convert_in_sandbox(source, target, limits=Limits(memory_bytes=256 * MIB))
    assert report.n_parameters == size // 4
    with target.open("rb") as file:
        file.seek(-4, 2)
        assert file.read() == floats(0.5)


def test_the_largest_transposed_tensor_passes(scratch: Path) -> None:
    """128 MiB out of row-major order, the most that is held at once."""
    source, target = scratch / "upload", scratch / "canonical"
    state = {"w": torch.arange(2**25, dtype=torch.float32).reshape(4096, 8192).t()}
    torch.save(state, source)
    convert_in_sandbox(source, target)
    assert torch.equal(load_file(target)["w"], state["w"])


def test_the_limits_are_those_of_the_child_alone() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
