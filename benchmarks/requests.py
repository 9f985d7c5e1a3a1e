"""Time and peak memory of a 100 MB upload and of a few-shot request, against a running server.

    python -m benchmarks.requests --url http://127.0.0.1:8000 --key-file var/demo/key --learner ID

Linux only: the API process is found by its port, its peak memory read and reset in /proc.
"""

import argparse
import io
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

import httpx
import psutil
import torch
from PIL import Image
from safetensors.torch import save

from ml.backbones import build, initialize

MIB = 1024 * 1024
WAYS, SHOTS, QUERIES, SIDE = 5, 5, 75, 32
REPEATS = 30


def main() -> None:
    """Measure, and print one line of JSON per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--learner", required=True, help="a meta-learner's id")
    options = parser.parse_args()
    api = api_process(options.url)
    with httpx.Client(
        base_url=options.url,
        headers={"Authorization": f"Bearer {options.key_file.read_text().strip()}"},
        timeout=120,
    ) as http:
        show("upload of a ResNet-50", measured(api, lambda: upload(http), repeats=1))
        ask = few_shot_request(http, options.learner)
        ask()
        show("5-way 5-shot, 75 queries", measured(api, ask, repeats=REPEATS))


def api_process(url: str) -> psutil.Process:
    """The process that listens on the URL's port."""
    port = urlparse(url).port
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,):
            return psutil.Process(connection.pid)
    raise SystemExit(f"nothing listens on port {port}; start the server first")


def measured(api: psutil.Process, act: Callable[[], None], *, repeats: int) -> dict[str, float]:
    """Mean seconds with the half width of their 95 % interval, and growth of the peak in MiB."""
    Path(f"/proc/{api.pid}/clear_refs").write_text("5")  # resets VmHWM
    before = peak_mib(api)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    figures = {
        "n": repeats,
        "seconds": statistics.mean(seconds),
        "resident_before_mib": before,
        "peak_growth_mib": peak_mib(api) - before,
    }
    if repeats > 1:
        figures["half_width_95"] = 1.96 * statistics.stdev(seconds) / math.sqrt(repeats)
    return figures


def peak_mib(process: psutil.Process) -> float:
    """VmHWM of a process."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmHWM in /proc: Linux is needed")


def upload(http: httpx.Client) -> None:
    """Send a randomly initialised ResNet-50, about 100 MB."""
    module = build("torchvision_resnet50", n_classes=1000, channels=3, image_size=224)
    initialize(module, torch.Generator().manual_seed(time.time_ns() % 2**31))
    data = save(module.state_dict())
    manifest = {
        "name": "benchmark",
        "backbone": "torchvision_resnet50",
        "n_classes": 1000,
        "image_size": 224,
        "normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }
    started = time.perf_counter()
    answer = http.post(
        "/v1/models",
        files={"checkpoint": ("m.safetensors", data)},
        data={"manifest": json.dumps(manifest)},
    )
    answer.raise_for_status()
    sent = time.perf_counter()
    model_id = answer.json()["id"]
    while (record := http.get(f"/v1/models/{model_id}").json())["status"] in (
        "received",
        "inspecting",
    ):
        time.sleep(0.2)
    print(  # noqa: T201
        json.dumps(
            {
                "megabytes": len(data) / 1e6,
                "request_s": sent - started,
                "until_inspected_s": time.perf_counter() - started,
                "status": record["status"],
            }
        )
    )
    http.delete(f"/v1/models/{model_id}").raise_for_status()


def few_shot_request(http: httpx.Client, learner: str) -> Callable[[], None]:
    """A request with random images of SIDE pixels."""
    rng = torch.Generator().manual_seed(0)

    def png() -> bytes:
        pixels = torch.randint(0, 256, (SIDE, SIDE, 3), generator=rng, dtype=torch.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(buffer, "PNG")
        return buffer.getvalue()

    files = [("support", ("s.png", png())) for _ in range(WAYS * SHOTS)]
    files += [("query", ("q.png", png())) for _ in range(QUERIES)]
    labels = [f"class {i % WAYS}" for i in range(WAYS * SHOTS)]

    def ask() -> None:
        http.post(
            f"/v1/meta-learners/{learner}/predictions", files=files, data={"labels": labels}
        ).raise_for_status()

    return ask


def show(what: str, figures: dict[str, float]) -> None:
    """One line of JSON."""
    rounded = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps({"what": what, **rounded}))  # noqa: T201


if __name__ == "__main__":
    main()
