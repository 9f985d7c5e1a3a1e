"""Say what builds compute on here: `python -m worker.device`, in a process that may import torch.

Prints one line of JSON: {"device": "cuda:0 NVIDIA H100", "ok": true}.
"""

import json
import sys

import torch

from pool.settings import Settings
from worker.jobs.build import choose_device


def describe(wanted: str) -> dict[str, str | bool]:
    """The device that the settings name, and whether a tensor can be put on it."""
    try:
        device = choose_device(wanted)
        torch.ones(1, device=device).sum().item()
    except (RuntimeError, AssertionError) as error:  # torch has no type of its own for this
        return {"device": f"{wanted} ({type(error).__name__})", "ok": False}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {"device": f"{device} {name}".strip(), "ok": True}


def main() -> None:
    """Look and print."""
    sys.stdout.write(json.dumps(describe(Settings().device)) + "\n")


if __name__ == "__main__":
    main()
