"""The clients' side of the digits demo: a dozen processes that train and upload by themselves."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from demo import digits
from demo.api import Api
from demo.errors import DemoError
from demo.parallel import for_each
from demo.story import Story

AT_ONCE = 2


def run_clients(api: Api, story: Story, *, url: str, key: str, directory: Path) -> list[str]:
    """Have every client train and upload; the ids of their models.

    A client whose model the server has from an earlier run is left in peace.

    Raises:
        DemoError: if a client fails; with what it said.
    """
    ready: dict[str, str] = {}
    for record in api.models():  # the newest first
        if record["status"] == "ready":
            ready.setdefault(record["name"], record["id"])
    numbers = range(1, digits.N_CLIENTS + 1)
    known = [number for number in numbers if _is_done(number, ready, directory)]
    if known:
        story.say(f"{len(known)} clients' models are in the pool from an earlier run.")
    ids = [ready[digits.client_name(number)] for number in known]
    waiting = [number for number in numbers if number not in known]
    run = partial(_run_client, url=url, key=key, directory=directory)
    with closing(for_each(waiting, run, at_once=AT_ONCE)) as runs:
        for _, outcome in runs:
            model = outcome.result()
            classes = " ".join(name.removeprefix("digit ") for name in model["class_names"])
            story.say(
                f"{model['name']}: digits {classes:<10} {model['description']}, "
                f"uploaded {Path(model['file']).suffix}"
            )
            ids.append(model["id"])
    return ids


def _is_done(number: int, ready: Mapping[str, str], directory: Path) -> bool:
    name = digits.client_name(number)
    return name in ready and (directory / f"{name}.safetensors").is_file()


def _run_client(number: int, *, url: str, key: str, directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "demo.client", "--number", str(number), "--server", url]
    run = subprocess.run(
        [*command, "--directory", str(directory)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "MODELPOOL_API_KEY": key, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        said = run.stderr.strip()[-1500:]
        raise DemoError(f"{digits.client_name(number)} failed:\n{said}")
    model: dict[str, Any] = json.loads(run.stdout)
    return model
