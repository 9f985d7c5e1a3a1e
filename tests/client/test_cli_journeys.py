"""The command line's journeys through a pseudo-terminal, against a live server and its worker."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from live_pool import LivePool
from safetensors.torch import save
from terminal import Terminal

from ml.backbones import build, initialize
from modelpool import Client
from modelpool.credentials import config_path
from modelpool.unfinished import state_dir
from tests.factories import QUICK_MULTI_TEACHER, small_checkpoint

pytestmark = [
    # The server's threads are in this process; the child calls exec at once.
    pytest.mark.filterwarnings("ignore:.*forkpty.*:DeprecationWarning"),
    pytest.mark.xdist_group("client-journeys"),  # they share a server
]

Start = Callable[..., Terminal]
PART_BYTES = 16 * 1024 * 1024
PATIENCE_S = 60


def large_checkpoint(seed: int) -> bytes:
    """A ResNet-10 of random weights: 20 MB, two parts."""
    module = build("resnet10", n_classes=3, channels=1, image_size=16)
    initialize(module, torch.Generator().manual_seed(seed))
    return save(dict(module.state_dict()))


def test_login_refuses_a_wrong_key_and_keeps_a_right_one_unseen(
    terminal: Start, pool: LivePool
) -> None:
    wrong = terminal("login", pool.url)
    wrong.answer_unseen("API key", "mp_not-a-key-of-this-server")
    assert wrong.end() == 4
    assert "not valid" in wrong.shown
    assert not config_path().exists()

    right = terminal("login")
    right.answer("Server", pool.url)
    right.answer_unseen("API key", pool.key)
    right.expect("Logged in")
    assert right.end() == 0
    assert "Next: modelpool push" in right.shown
    assert pool.key not in right.shown
    assert stat.S_IMODE(config_path().stat().st_mode) == 0o600

    status = terminal("status")
    assert status.end() == 0
    assert pool.url in status.shown
    assert "live models" in status.shown


def test_push_reads_the_file_asks_for_the_rest_and_prints_the_verdict(
    terminal: Start, logged_in: LivePool, tmp_path: Path, client: Client
) -> None:
    (tmp_path / "model.safetensors").write_bytes(small_checkpoint(1))
    push = terminal("push", "model.safetensors")
    push.answer("Name of the model", "ward 3")
    push.answer("Side of the images", "5")
    push.answer("16 to 224", "16")
    push.answer("Normalization", "0.5/0.25")
    push.answer("Names of its 3 classes", "cat,dog")
    push.expect("these are 2")
    push.answer("Names of its 3 classes", "cat, dog, bird")
    push.expect("Ready: ward 3 is mdl_")
    assert push.end() == 0
    assert "Read from the file: conv4, 1 channel, 3 outputs" in push.shown
    (model,) = (each for each in client.models() if each["name"] == "ward 3")
    assert model["class_names"] == ["cat", "dog", "bird"]
    assert model["normalization"] == {"mean": [0.5], "std": [0.25]}
    assert "Traceback" not in push.shown


def test_a_rejected_checkpoint_shows_the_reason_and_the_recipe(
    terminal: Start, logged_in: LivePool, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(small_checkpoint(2))
    options = ["--image-size", 16, "--normalization", "half", "--name", "wrong"]
    push = terminal("push", "model.safetensors", "--classes", "cat,dog", *options)
    assert push.end() == 5
    assert "seems to have 3 outputs" in push.shown
    assert "Rejected: wrong" in push.shown
    assert "the head has 3 outputs, the manifest names 2 classes" in push.shown
    assert "What to do:" in push.shown


def test_an_interrupted_push_goes_on_where_it_was(
    terminal: Start, logged_in: LivePool, tmp_path: Path
) -> None:
    (tmp_path / "large.safetensors").write_bytes(large_checkpoint(3))
    options = ["--image-size", 16, "--normalization", "half", "--name", "large", "-c", "a,b,c"]
    logged_in.gate.hold("/parts/2")
    first = terminal("push", "large.safetensors", *options)
    first.expect("Sending")
    assert logged_in.gate.arrived.wait(PATIENCE_S)
    first.interrupt()
    assert first.end() == 130
    assert "What was sent stays until" in first.shown
    (record,) = state_dir().glob("*.json")
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert set(json.loads(record.read_text())) == {"upload_id", "expires_at"}
    assert set(logged_in.gate.parts) == {"1", "2"}

    logged_in.gate.open()
    second = terminal("push", "large.safetensors", *options)
    assert second.end() == 0
    assert f"Going on after {PART_BYTES:,} bytes" in second.shown
    assert "Ready: large is mdl_" in second.shown
    assert "resnet10, 16 px" in second.shown
    assert logged_in.gate.parts == ["2"]
    assert not list(state_dir().glob("*.json"))


def test_build_watch_shows_losses_and_leaves_the_build_running_at_ctrl_c(
    terminal: Start, logged_in: LivePool, two_models: list[str], client: Client, run: Any
) -> None:
    sizes = {**QUICK_MULTI_TEACHER, "steps": 1_000_000, "save_every": 20}
    preset = sizes.pop("preset")
    numbers = [word for name, value in sizes.items() for word in ("--set", f"{name}={value}")]
    models = [word for each in two_models for word in ("--model", each)]
    watch = terminal("build", "--pool", "default", "--preset", preset, *numbers, *models, "--watch")
    watch.expect("distillation loss")
    watch.expect("left")
    watch.interrupt()
    assert watch.end() == 130
    assert "goes on without you" in watch.shown
    assert "modelpool builds watch bld_" in watch.shown

    build = next(client.builds())
    assert build["status"] == "running"
    saved = (client.build(build["id"])["saved_at"] for _ in client.follow_build(build["id"]))
    assert next(filter(None, saved))
    canceled = run("builds", "cancel", build["id"])
    assert canceled.exit_code == 0
    assert "is canceled" in canceled.stdout
    logged_in.worker.stop_job()
    again = terminal("builds", "watch", build["id"])
    assert again.end() == 5
    assert "The build was canceled" in again.shown

    resumed = run("builds", "resume", build["id"])
    assert resumed.exit_code == 0, resumed.output
    assert f"goes on where {build['id']} stopped" in resumed.stdout
    heir = client.resume_build(build["id"])
    assert (heir["resumed_from"], heir["seed"]) == (build["id"], build["seed"])
    for each in client.builds():
        if each["status"] not in ("succeeded", "canceled"):
            client.cancel_build(each["id"])
    logged_in.worker.stop_job()
