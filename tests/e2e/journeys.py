"""The main job over HTTP, as a client lives it."""

import io
import json
from typing import Any

import torch
from factories import QUICK_FREE, small_checkpoint, small_manifest
from PIL import Image


def send_model(server: Any, data: bytes, manifest: dict[str, Any], name: str = "m.bin") -> Any:
    """Upload one checkpoint; the response."""
    return server.http.post(
        "/v1/models",
        files={"checkpoint": (name, data)},
        data={"manifest": json.dumps(manifest)},
    )


def torch_zip(seed: int) -> bytes:
    """A training checkpoint as torch writes it."""
    from safetensors.torch import load

    state = {f"module.{k}": v for k, v in load(small_checkpoint(seed)).items()}
    buffer = io.BytesIO()
    torch.save({"epoch": 3, "model_state_dict": state}, buffer)
    return buffer.getvalue()


def fill_pool(server: Any, count: int = 3) -> list[str]:
    """Upload honest models in two formats and wait until they are ready; their ids."""
    for seed in range(count):
        data = torch_zip(seed) if seed % 2 else small_checkpoint(seed)
        answer = send_model(server, data, small_manifest(f"m{seed}"))
        assert answer.status_code == 202, answer.text
    models = server.wait_for_models()
    assert {m["status"] for m in models.values()} == {"ready"}, models
    return [models[f"m{seed}"]["id"] for seed in range(count)]


def order_build(server: Any, *, algorithm: str = "free", **config: Any) -> str:
    """Request a build, of seconds with FREE; its id."""
    quick = QUICK_FREE if algorithm == "free" else {}
    recipe = {"algorithm": algorithm, "config": {**quick, **config}}
    answer = server.http.post("/v1/builds", json={"recipe": recipe, "seed": 0})
    assert answer.status_code == 202, answer.text
    build_id: str = answer.json()["id"]
    return build_id


def png(shade: int, size: int = 24) -> bytes:
    """A grey square."""
    buffer = io.BytesIO()
    Image.new("L", (size, size), shade).save(buffer, "PNG")
    return buffer.getvalue()


def ask(server: Any, meta_learner_id: str, **fields: str) -> Any:
    """A few-shot request that a brightness detector would solve."""
    parts = [("support", ("a.png", png(shade), "image/png")) for shade in (10, 30, 220, 250)]
    parts += [("query", ("q.png", png(shade), "image/png")) for shade in (20, 240)]
    return server.http.post(
        f"/v1/meta-learners/{meta_learner_id}/predictions",
        files=parts,
        data={"labels": ["dark", "dark", "bright", "bright"], **fields},
    )
