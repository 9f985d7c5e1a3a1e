"""Resident memory of the API while a checkpoint of 2 GiB arrives in parts, on both stores.

    python -m benchmarks.upload_memory

Starts servers of its own in a temporary directory: one whose parts come to the API, one whose parts
go to an S3 server (rclone's) by presigned URLs. Linux only: peaks are read and reset in /proc.
"""

import argparse
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import psutil

from benchmarks.machine import ROOT, cpu_model, describe_code, usable_cores

MIB = 1024 * 1024
KEY = f"mp_{secrets.token_urlsafe(24)}"
S3_USER, S3_SECRET = "benchmark", secrets.token_urlsafe(16)
RESULT = ROOT / "benchmarks" / "results" / "uploads" / "upload_memory.json"
SEEDS_MIB = 64
"""Random bytes that parts begin with; hashing and copying do not care about repetition."""
MANIFEST = {
    "name": "benchmark",
    "backbone": "torchvision_resnet50",
    "n_classes": 1000,
    "image_size": 224,
    "normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
}


def main() -> None:
    """Measure both ways, print a table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=2048, help="of the checkpoint")
    parser.add_argument("--part-mib", type=int, default=16)
    parser.add_argument("--at-once", type=int, default=4, help="parts under way at a time")
    parser.add_argument("--place", type=Path, help="on a disk; else the temporary directory")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = []
    for where in ("directory", "s3"):
        with tempfile.TemporaryDirectory(dir=options.place) as place:
            rows.append(measured(where, Path(place), options))
        print(json.dumps(rows[-1]))  # noqa: T201
    machine = {"cpu": cpu_model(), "cores": usable_cores(), **describe_code()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def measured(where: str, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One upload, from its announcement to its model."""
    with deployment(where, place) as (url, environment, api):
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=url, headers=headers, timeout=300) as http:
            part = {"manifest": MANIFEST, "part_size": options.part_mib * MIB}
            size = options.mib * MIB
            warm_up(http, part)
            reset_peak(api)
            before = peak_mib(api)
            started = time.perf_counter()
            upload_id, sha256 = send(http, part | {"size_bytes": size}, options.at_once)
            sent_s = time.perf_counter() - started
            asked = time.perf_counter()
            http.post(f"/v1/uploads/{upload_id}/complete").raise_for_status()
            complete_s = time.perf_counter() - asked
            growth = peak_mib(api) - before
            asked = time.perf_counter()
            worker_mib = work(environment, place)
            assembled_s = time.perf_counter() - asked
            record = http.get(f"/v1/uploads/{upload_id}").json()
            model = http.get(f"/v1/models/{record['model_id']}").json()
            assert model["sha256"] == sha256, "the stored bytes are not those sent"
    return {
        "parts_go_to": "the API" if where == "directory" else "S3, presigned",
        "mib": options.mib,
        "part_mib": options.part_mib,
        "at_once": options.at_once,
        "api_resident_before_mib": round(before, 1),
        "api_peak_growth_mib": round(growth, 1),
        "worker_peak_mib": round(worker_mib, 1),
        "sent_s": round(sent_s, 1),
        "complete_answered_s": round(complete_s, 3),
        "job_s": round(assembled_s, 1),
    }


def warm_up(http: httpx.Client, part: dict[str, Any]) -> None:
    """One small upload, so that what the API loads once is not counted."""
    upload_id, _ = send(http, part | {"size_bytes": 5 * MIB}, 1)
    http.delete(f"/v1/uploads/{upload_id}").raise_for_status()


def send(http: httpx.Client, order: dict[str, Any], at_once: int) -> tuple[str, str]:
    """Announce and send all parts; the upload's id and the SHA-256 of what was sent."""
    seed, digest = secrets.token_bytes(SEEDS_MIB * MIB), hashlib.sha256()
    record = http.post("/v1/uploads", json=order).raise_for_status().json()
    at = f"/v1/uploads/{record['id']}"

    def put(part: dict[str, Any]) -> None:
        body = content(seed, part["offset"], part["size_bytes"])
        url = urljoin(str(http.base_url), part["url"])
        if record["send_key"]:
            http.put(url, content=body).raise_for_status()
        else:
            httpx.put(url, content=body, timeout=300).raise_for_status()

    while parts := http.get(at).raise_for_status().json()["next_parts"]:
        for part in parts:
            digest.update(content(seed, part["offset"], part["size_bytes"]))
        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(put, parts))
    return record["id"], digest.hexdigest()


def content(seed: bytes, offset: int, size: int) -> bytes:
    """The checkpoint's bytes from an offset on: each part differs from the others."""
    start = offset // 4096 % (len(seed) - size) if size < len(seed) else 0
    return seed[start : start + size]


def work(environment: dict[str, str], place: Path) -> float:
    """Do the assembly as a worker does; its peak resident memory in MiB."""
    find = (
        "from pool.database import jobs; from pool.database.session import Database; "
        "from pool.domain import JobKind; from pool.settings import Settings\n"
        "with Database(Settings().database).read() as session: "
        "print(jobs.next_queued(session, JobKind.ASSEMBLE))"
    )
    job_id = run(["-c", find], environment).strip()
    process = psutil.Popen(
        [sys.executable, "-m", "worker.run_job", job_id, "run_benchmark"],
        cwd=ROOT,
        env=environment,
        stdout=(place / "worker.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    peak = 0.0
    while process.poll() is None:
        try:
            peak = max(peak, peak_mib(process))
        except (OSError, SystemExit):
            break
        time.sleep(0.2)
    process.wait()
    return peak


@contextmanager
def deployment(where: str, place: Path) -> Iterator[tuple[str, dict[str, str], psutil.Process]]:
    """An API with a database and a store of its own; its URL, its environment, its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODELPOOL_")},
        "MODELPOOL_VAR": str(place / "var"),
        "MODELPOOL_PORT": str(port),
        "MODELPOOL_BOOTSTRAP_KEY": KEY,
        "OMP_NUM_THREADS": "1",
    }
    with s3_server(where, place) as settings:
        environment |= settings
        run(["-m", "pool.setup"], environment)
        log = (place / "api.log").open("w")
        api = psutil.Popen(
            [sys.executable, "-m", "app.main"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_it_answers(url)
            yield url, environment, api
        finally:
            api.terminate()
            api.wait()


def wait_until_it_answers(url: str) -> None:
    """At most five minutes: a busy machine takes long to import."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        try:
            httpx.get(f"{url}/healthz/live").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the API did not start")


@contextmanager
def s3_server(where: str, place: Path) -> Iterator[dict[str, str]]:
    """Settings for a real S3 server, or none for the directory."""
    if where != "s3":
        yield {}
        return
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
    (place / "buckets").mkdir()
    command = [program, "serve", "s3", "--config", "", "--addr", "127.0.0.1:0"]
    command += ["--auth-key", f"{S3_USER},{S3_SECRET}", str(place / "buckets")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:  # noqa: S603
        assert server.stderr is not None
        address = None
        while address is None:
            line = server.stderr.readline()
            assert line, "the S3 server ended before it listened"
            address = re.search(r"http://(127\.0\.0\.1:\d+)", line)
        yield {
            "MODELPOOL_STORAGE_URL": "s3://benchmark",
            "MODELPOOL_S3_ENDPOINT": address[1],
            "MODELPOOL_S3_ACCESS_KEY": S3_USER,
            "MODELPOOL_S3_SECRET_KEY": S3_SECRET,
            "MODELPOOL_S3_SECURE": "false",
        }
        server.terminate()


def run(arguments: list[str], environment: dict[str, str]) -> str:
    """A program of this project, to its end; what it printed."""
    ran = subprocess.run(  # noqa: S603
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return ran.stdout


def reset_peak(process: psutil.Process) -> None:
    """Forget the peak so far."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def peak_mib(process: psutil.Process) -> float:
    """VmHWM of a process."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmHWM in /proc: Linux is needed")


if __name__ == "__main__":
    main()
