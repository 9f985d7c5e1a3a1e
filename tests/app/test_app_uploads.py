"""POST /v1/models: what is taken, what is refused, and that the refusal names the field."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from pool.domain import Scope

Upload = Callable[..., Any]
Manifest = dict[str, Any]

FILE = ("checkpoint", ("model.safetensors", b"a checkpoint"))


def test_an_upload_is_accepted_with_its_record(upload: Upload, manifest: Manifest) -> None:
    answer = upload()
    assert answer.status_code == 202
    record = answer.json()
    assert {name: record[name] for name in manifest} == manifest
    assert record["id"].startswith("mdl_")
    assert (record["status"], record["pool"], record["reason"]) == ("received", "default", None)
    assert record["sha256"] == hashlib.sha256(b"a checkpoint").hexdigest()
    assert record["size_bytes"] == len(b"a checkpoint")


def test_the_stored_bytes_are_those_sent(upload: Upload, app: FastAPI, tmp_path: Path) -> None:
    data = bytes(range(256)) * 300
    record = upload(data).json()
    (key,) = app.state.store.keys("quarantine/")
    app.state.store.fetch(key, tmp_path / "fetched")
    assert key == f"quarantine/{record['id']}"
    assert (tmp_path / "fetched").read_bytes() == data


def test_the_same_bytes_again_are_the_same_model_with_200(upload: Upload) -> None:
    first, second = upload(), upload(name="another name")
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json() == first.json()


def test_the_same_bytes_with_another_meaning_conflict(upload: Upload) -> None:
    upload()
    answer = upload(image_size=64)
    assert (answer.status_code, answer.json()["code"]) == (409, "manifest-conflict")


@pytest.mark.parametrize("filename", [None, "manifest.json", ""])
def test_the_manifest_may_be_a_field_or_a_file(
    client: TestClient, manifest: Manifest, filename: str | None
) -> None:
    part = (filename, json.dumps(manifest), "application/json")
    answer = client.post("/v1/models", files=[("manifest", part), FILE])
    assert answer.status_code == 202


def test_the_parts_may_come_in_any_order(client: TestClient, manifest: Manifest) -> None:
    part = ("manifest", (None, json.dumps(manifest)))
    assert client.post("/v1/models", files=[FILE, part]).status_code == 202


def test_n_classes_alone_names_the_classes_after_the_model(upload: Upload) -> None:
    record = upload(class_names=None, n_classes=3).json()
    assert record["class_names"] == ["ward 3 #0", "ward 3 #1", "ward 3 #2"]


# Refusals.


def refused_part(answer: Any) -> str:
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid-input"), problem
    (fault,) = problem["errors"]
    assert fault["detail"]
    return str(fault["part"])


def test_a_missing_part_is_named(client: TestClient, manifest: Manifest) -> None:
    part = ("manifest", (None, json.dumps(manifest)))
    assert refused_part(client.post("/v1/models", files=[part])) == "checkpoint"
    assert refused_part(client.post("/v1/models", files=[FILE])) == "manifest"


def test_a_checkpoint_that_is_text_is_no_file(client: TestClient, manifest: Manifest) -> None:
    parts = [("manifest", (None, json.dumps(manifest))), ("checkpoint", (None, "text"))]
    assert refused_part(client.post("/v1/models", files=parts)) == "checkpoint"


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "\xff", "{}{}", "[" * 10_000])
@pytest.mark.parametrize("filename", [None, "manifest.json"])
def test_a_manifest_that_is_no_json_object_is_refused(
    client: TestClient, text: str, filename: str | None
) -> None:
    part = ("manifest", (filename, text.encode("latin-1")))
    assert refused_part(client.post("/v1/models", files=[part, FILE])) == "manifest"


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("name", {"name": None}),
    ("name", {"name": ""}),
    ("name", {"name": "n" * 201}),
    ("name", {"name": "two\nlines"}),
    ("backbone", {"backbone": None}),
    ("backbone", {"backbone": ""}),
    ("backbone", {"backbone": "b\x00"}),
    ("class_names", {"class_names": ["one"]}),
    ("class_names.1", {"class_names": ["a", ""]}),
    ("class_names.1", {"class_names": ["a", 7]}),
    ("class_names", {"class_names": ["a", "a"]}),
    ("class_names", {"class_names": None}),
    ("n_classes", {"class_names": None, "n_classes": 1}),
    ("n_classes", {"class_names": None, "n_classes": 10_001}),
    ("n_classes", {"n_classes": 3}),
    ("image_size", {"image_size": None}),
    ("image_size", {"image_size": 15}),
    ("image_size", {"image_size": 225}),
    ("image_size", {"image_size": 32.5}),
    ("channels", {"channels": 2}),
    ("channels", {"channels": "rgb"}),
    ("normalization", {"normalization": None}),
    ("normalization.mean", {"normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.25]}}),
    ("normalization.std", {"normalization": {"mean": [0.5], "std": [0.25, 0.25, 0.25]}}),
    ("normalization.std.0", {"normalization": {"mean": [0.5], "std": [0]}}),
    ("normalization.std.0", {"normalization": {"mean": [0.5], "std": [float("nan")]}}),
    ("normalization.mean.0", {"normalization": {"mean": [float("nan")], "std": [0.25]}}),
    ("normalization.mean.0", {"normalization": {"mean": [11], "std": [0.25]}}),
    ("normalization.variance", {"normalization": {"mean": [0], "std": [1], "variance": [1]}}),
    ("pool", {"pool": ""}),
    ("domain", {"domain": "d" * 101}),
    ("domain", {"domain": "d\x00"}),
    ("description", {"description": "d" * 5001}),
    ("description", {"description": "d\x00"}),
    ("training_data_note", {"training_data_note": "d\x00"}),
    ("dp_epsilon", {"dp_epsilon": 0}),
    ("dp_epsilon", {"dp_epsilon": float("inf")}),
    ("dp_epsilon", {"dp_epsilon": float("nan")}),
    ("sha256", {"sha256": "abc"}),
    ("colour", {"colour": "red"}),
]


@pytest.mark.parametrize(
    ("field", "changed"), WRONG, ids=[f"{i}-{field}" for i, (field, _) in enumerate(WRONG)]
)
def test_a_wrong_manifest_is_refused_by_field(
    upload: Upload, app: FastAPI, field: str, changed: dict[str, Any]
) -> None:
    assert refused_part(upload(**changed)) == f"manifest.{field}"
    assert list(app.state.store.keys("")) == []


def test_the_refusal_does_not_repeat_what_was_sent(upload: Upload) -> None:
    assert "hunter2" not in upload(image_size="hunter2").text


def test_bytes_other_than_described_are_refused(upload: Upload) -> None:
    answer = upload(sha256="0" * 64)
    assert (answer.status_code, answer.json()["code"]) == (422, "checksum-mismatch")


def test_an_empty_checkpoint_is_refused(upload: Upload) -> None:
    answer = upload(b"")
    assert (answer.status_code, answer.json()["code"]) == (422, "empty-checkpoint")


def test_an_unknown_pool_is_not_found(upload: Upload) -> None:
    answer = upload(pool="nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "pool-not-found")


@pytest.mark.parametrize(
    ("content_type", "body", "part"),
    [
        ("application/json", b"{}", "content-type"),
        ("multipart/form-data", b"", "body"),
        ("multipart/form-data; boundary=x", b"not a form", "body"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--\r\n", "body"),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken header\r\n", "body"),
    ],
)
def test_a_body_that_is_no_form_is_refused(
    client: TestClient, content_type: str, body: bytes, part: str
) -> None:
    headers = {"Content-Type": content_type}
    assert refused_part(client.post("/v1/models", content=body, headers=headers)) == part


def test_a_form_with_many_more_parts_is_refused(client: TestClient, manifest: Manifest) -> None:
    parts = [("manifest", (None, json.dumps(manifest)))] + [FILE] * 3
    assert refused_part(client.post("/v1/models", files=parts)) == "body"


def test_a_manifest_of_more_than_256_kib_is_refused(client: TestClient, manifest: Manifest) -> None:
    huge = ("manifest.json", json.dumps(manifest) + " " * 256 * 1024)
    answer = client.post("/v1/models", files=[("manifest", huge), FILE])
    assert refused_part(answer) == "manifest"


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_too_large(client: TestClient, declared: bool) -> None:
    size = 1024 * 1024 + 200_000  # the checkpoint's limit and a MiB for the rest of the form
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    head = b'--x\r\nContent-Disposition: form-data; name="checkpoint"; filename="m"\r\n\r\n'

    def chunks() -> Iterator[bytes]:
        yield head
        for _ in range(size // 10_000):
            yield bytes(10_000)

    content: Any = head + bytes(size) if declared else chunks()
    answer = client.post("/v1/models", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert "1,148,576" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/meta-learners/ml_1/predictions"])
@pytest.mark.parametrize("key", [None, "mp_nobodys-key-0123456789", "too few scopes"])
def test_who_may_not_send_is_refused_before_the_body_is_read(
    app: FastAPI, with_scopes: Callable[..., TestClient], path: str, key: str | None
) -> None:
    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    if key == "too few scopes":
        value = with_scopes(Scope.BUILDS_READ).headers["authorization"]
        headers.append((b"authorization", value.encode()))
    elif key is not None:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("somebody read the body")

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    asyncio.run(app(scope, receive, send))
    assert messages[0]["status"] == (403 if key == "too few scopes" else 401)
