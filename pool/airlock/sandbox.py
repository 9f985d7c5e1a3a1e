"""Run a conversion in a child process that can hurt nobody.

Covered: memory, CPU and wall-clock time, file size, open files, core dumps, the environment, the
working directory, left-over processes.
Not covered: the network and the rest of the file system, which the deployment's container limits.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pool.airlock.conversion import DEFAULT_LIMITS, Converted
from pool.airlock.limits import Limits
from pool.airlock.refusals import CATALOGUE, Refused, refused

CHILD = Path(__file__).with_name("__main__.py")
MAX_VERDICT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a confined child ended.

    `returncode` is None when it was killed for taking too long or for saying too much.
    """

    output: bytes
    returncode: int | None


def convert_in_sandbox(source: Path, target: Path, *, limits: Limits = DEFAULT_LIMITS) -> Converted:
    """Do what `convert` does, in a confined child process.

    Raises:
        Refused: The file is not acceptable; also when the child dies or takes too long
            (`airlock-limit`), or fails in a way that it should not (`airlock-fault`). Target is
            not written then.
    """
    wall_seconds = limits.wall_budget(source.stat().st_size)
    outcome = run_confined(child_command(source, target, limits), wall_seconds=wall_seconds)
    try:
        return _read_verdict(outcome)
    except Refused:
        target.unlink(missing_ok=True)
        target.with_name(target.name + ".partial").unlink(missing_ok=True)
        raise


def child_command(source: Path, target: Path, limits: Limits) -> list[str]:
    """Return the command of the child, which confines itself before it reads anything."""
    size = source.stat().st_size
    confinement = {
        "memory_bytes": limits.memory_bytes,
        "open_files": limits.open_files,
        "cpu_seconds": limits.cpu_budget(size),
        "file_bytes": limits.output_budget(size),
    }
    return [
        *(sys.executable, "-I", "-B", str(CHILD)),
        *(str(source.absolute()), str(target.absolute())),
        *(json.dumps(confinement), json.dumps(asdict(limits))),
    ]


def run_confined(command: Sequence[str], *, wall_seconds: float) -> Outcome:
    """Run a command with nothing of ours: no environment, an empty directory, its own session.

    At most 64 KiB of its standard output are read; its whole process group is killed when it
    takes longer than wall_seconds.
    """
    deadline = time.monotonic() + wall_seconds
    with (
        tempfile.TemporaryDirectory(prefix="airlock-") as empty,
        subprocess.Popen(  # noqa: S603 - our own interpreter and script
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd=empty,
            start_new_session=True,
        ) as process,
    ):
        try:
            output = _read_bounded(process, deadline)
            returncode = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Outcome(output=b"", returncode=None)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    return Outcome(output=output, returncode=returncode)


def _read_bounded(process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    assert process.stdout is not None
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or len(output) > MAX_VERDICT_BYTES or not selector.select(remaining):
                raise subprocess.TimeoutExpired(process.args, remaining)
            part = os.read(process.stdout.fileno(), MAX_VERDICT_BYTES)
            if not part:
                return output
            output += part


def _read_verdict(outcome: Outcome) -> Converted:
    if outcome.returncode is None:
        raise refused("airlock-limit", detail="time")
    if outcome.returncode < 0:
        raise refused("airlock-limit", detail=f"signal {-outcome.returncode}")
    try:
        verdict = json.loads(outcome.output)
        if "refused" in verdict:
            raise _refusal(verdict["refused"])
        return _converted(verdict["converted"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        detail = f"exit status {outcome.returncode}"
        raise refused("airlock-fault", detail=detail) from error


def _refusal(fields: Mapping[str, str]) -> Refused:
    if fields["code"] not in CATALOGUE:
        raise KeyError(fields["code"])
    return Refused(code=fields["code"], reason=fields["reason"], recipe=fields["recipe"])


def _converted(fields: Mapping[str, object]) -> Converted:
    dropped = fields["dropped"]
    if not isinstance(dropped, list):
        raise TypeError(type(dropped).__name__)
    return Converted(
        source_format=str(fields["source_format"]),
        order_is_known=fields["order_is_known"] is True,
        n_tensors=int(str(fields["n_tensors"])),
        n_parameters=int(str(fields["n_parameters"])),
        dropped=tuple(str(name) for name in dropped),
    )
