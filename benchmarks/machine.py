"""What a figure depends on besides its recipe: the machine, the code, time and memory."""

import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

ROOT = Path(__file__).resolve().parent.parent
MADE_HERE = ("benchmarks/results", "docs/RESULTS.md", "docs/results")
CPU_INFO, STATUS, CLEAR_REFS = (
    Path("/proc/cpuinfo"),
    Path("/proc/self/status"),
    Path("/proc/self/clear_refs"),
)
RESET_PEAK = "5"  # proc(5): clear_refs resets the peak resident set on this value

Facts = dict[str, str | int | bool | None]


def describe_machine(device: torch.device) -> Facts:
    """Processor, cores, threads, GPU and versions; no host name, no path."""
    cuda = device.type == "cuda"
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "system": platform.system(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def cpu_model() -> str:
    """The processor's own name where the system tells it, else its architecture."""
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_code() -> Facts:
    """The commit, and whether anything but results differs from it; None outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    changed = _git("status", "--porcelain", "--", ".", *(f":!{path}" for path in MADE_HERE))
    return {"commit": commit, "dirty": bool(changed)}


def _git(*arguments: str) -> str | None:
    try:
        ran = subprocess.run(  # noqa: S603  # fixed words, no shell
            ["git", *arguments],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return ran.stdout.strip()


class Stopwatch:
    """Wall-clock and processor seconds of a with-block.

    Processor seconds tell a loaded machine from a slow program; they include all threads.
    """

    def __enter__(self) -> Self:
        """Start both clocks."""
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop both clocks."""
        self.wall_s = time.perf_counter() - self._wall_s
        self.cpu_s = time.process_time() - self._cpu_s


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far, where the system allows it, so that a run reports its own."""
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:
        return
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, int | None]:
    """Peak resident bytes of this process, and of the GPU's tensors, since the last reset."""
    gpu = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"peak_resident_bytes": _peak_resident_bytes(), "peak_gpu_bytes": gpu}


def _peak_resident_bytes() -> int:
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
