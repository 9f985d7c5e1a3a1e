"""Promise: of a few-shot request nothing is written to disk, to the database, a message or a log.

Requests carry unmistakable random markers in their labels, file names and image bytes; afterwards
every place that could have kept one is searched.
"""

import hashlib
import io
import logging
import secrets
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import text
from starlette.testclient import TestClient

from app.main import create_app
from ml.backbones import build, initialize
from ml.learner import MetaLearner, save_meta_learner
from pool.database import jobs
from pool.database.tables import Base, BuildRow, MetaLearnerRow, PoolRow
from pool.domain import JobKind
from pool.settings import Settings
from pool.setup import migrate
from pool.usecases.bootstrap import bootstrap

KEY = "mp_a-key-of-the-privacy-tests"
MEBIBYTE = 1024 * 1024

Found = list[str]


def marker() -> str:
    return "trace" + secrets.token_hex(16)


def chunk(kind: bytes, data: bytes) -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def image_with(mark: str, *, padding: int = 0) -> bytes:
    """A PNG that carries the marker as bytes of a text chunk, and padding that stays unread."""
    file = io.BytesIO()
    Image.effect_noise((24, 24), 90).save(file, "PNG")
    data = file.getvalue()
    head, tail = data[:33], data[33:]  # behind the signature and IHDR
    return head + chunk(b"tEXt", b"Comment\x00" + mark.encode() + bytes(padding)) + tail


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files of this test go, and of nobody else."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All bytes that the directory store and spooled files put on disk meanwhile."""
    spilled: list[bytes] = []

    def rollover(self: Any) -> None:
        position = self._file.tell()
        self._file.seek(0)
        spilled.append(self._file.read())
        self._file.seek(position)
        raise AssertionError("a part of a request rolled over to disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    return spilled


@pytest.fixture
def app(tmp_path: Path, scratch: Path) -> Iterator[FastAPI]:
    """A server that holds one meta-learner, `ml_served`."""
    settings = Settings(var=tmp_path / "var", threads=1)
    migrate(settings.database)
    made = create_app(settings)
    bootstrap(made.state.database, KEY)
    _serve_a_meta_learner(made, tmp_path / "meta-learner.safetensors")
    yield made
    made.state.database.dispose()


def _serve_a_meta_learner(app: FastAPI, path: Path) -> None:
    backbone = build("conv4", n_classes=5, channels=1, image_size=16)
    initialize(backbone, torch.Generator().manual_seed(0))
    learner = MetaLearner(
        backbone="conv4",
        n_way=5,
        image_size=16,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        tensors=dict(backbone.state_dict()),
    )
    save_meta_learner(path, learner)
    data = path.read_bytes()
    key = "meta-learners/ml_served.safetensors"
    app.state.store.put(key, io.BytesIO(data), len(data))
    with app.state.database.write() as session:
        pool = session.query(PoolRow).one()
        owned = {"organisation_id": pool.organisation_id, "pool_id": pool.id}
        row = BuildRow(id="bld_1", algorithm="free", config={}, seed=0, **owned)
        row.job = jobs.create(session, JobKind.BUILD, row.id)
        session.add(row)
        session.flush()
        session.add(
            MetaLearnerRow(
                id="ml_served",
                build_id=row.id,
                object_key=key,
                sha256=hashlib.sha256(data).hexdigest(),
                size_bytes=len(data),
                backbone="conv4",
                image_size=16,
                channels=1,
                report={},
                **owned,
            )
        )


def send(
    app: FastAPI,
    marks: list[str],
    *,
    support: list[bytes],
    labels: list[str],
    query: list[bytes],
    learner: str = "ml_served",
    note: str = "",
    kept: bool = False,
) -> int:
    name = f"{marks[0]}.png"
    parts: list[tuple[str, Any]] = [("support", (name, image)) for image in support]
    parts += [("query", (name, image)) for image in query]
    parts += [("labels", (None, label.encode())) for label in labels]
    client = TestClient(
        app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {KEY}"}
    )
    path = f"/v1/meta-learners/{learner}/predictions" + (f"?{note}={note}" if note else "")
    if not kept:
        return int(client.post(path, files=parts).status_code)
    adapting = [part for part in parts if part[0] != "query"]
    asking = [part for part in parts if part[0] == "query"]
    made = client.post(f"/v1/meta-learners/{learner}/adaptations", files=adapting).json()
    assert set(made["labels"]) == set(labels)
    return int(client.post(f"/v1/adaptations/{made['id']}/predictions", files=asking).status_code)


def good(marks: list[str]) -> dict[str, Any]:
    large = image_with(marks[1], padding=2 * MEBIBYTE)
    small = image_with(marks[2])
    return {
        "support": [large, small, small, large],
        "labels": [marks[3], marks[3], marks[4], marks[4]],
        "query": [large, small],
    }


REQUESTS: dict[str, tuple[int, Callable[[list[str]], dict[str, Any]]]] = {
    "a good one": (200, good),
    "one in two steps": (200, lambda m: good(m) | {"kept": True}),
    "one of a class": (422, lambda m: good(m) | {"labels": [m[3]] * 4}),
    "one with a broken image": (
        422,
        lambda m: good(m) | {"query": [m[1].encode() * 40_000, image_with(m[2])]},
    ),
    "one with half an image": (
        422,
        lambda m: good(m) | {"query": [image_with(m[1], padding=2 * MEBIBYTE)[:-40]]},
    ),
    "one whose labels do not pair": (422, lambda m: good(m) | {"labels": [m[3], m[4]]}),
    "one with a label that is too long": (
        422,
        lambda m: good(m) | {"labels": [m[3] * 10, m[3], m[4], m[4]]},
    ),
    "one with a query that the API does not know": (422, lambda m: good(m) | {"note": m[1]}),
    "one to nobody": (404, lambda m: good(m) | {"learner": m[1]}),
}


def search(marks: list[str], data: bytes) -> list[str]:
    return [mark for mark in marks if mark.encode() in data]


def traces(app: FastAPI, marks: list[str], *directories: Path) -> Found:
    """Every place outside this process's memory that holds a marker."""
    found = []
    for directory in directories:
        for path in directory.rglob("*"):
            if search(marks, str(path).encode()):
                found.append(f"the name of {path}")
            if path.is_file() and search(marks, path.read_bytes()):
                found.append(f"the file {path}")
    with app.state.database.read() as session:
        for table in Base.metadata.sorted_tables:
            rows = session.execute(text(f"SELECT * FROM {table.name}")).all()
            if search(marks, repr(rows).encode()):
                found.append(f"the table {table.name}")
    return found


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_leaves_no_trace(
    app: FastAPI,
    tmp_path: Path,
    scratch: Path,
    written: list[bytes],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    marks = [marker() for _ in range(5)]
    status, make = REQUESTS[kind]
    noisy_clients = ("httpx", "httpx2", "httpcore", "httpcore2")  # the test's, not the server's
    for name in noisy_clients:
        caplog.set_level(logging.WARNING, logger=name)
    caplog.set_level(logging.DEBUG)

    assert send(app, marks, **make(marks)) == status

    assert traces(app, marks, tmp_path / "var", scratch) == []
    assert written == []
    assert list(scratch.iterdir()) == []
    captured = capfd.readouterr()
    logged = "".join(repr(vars(record)) for record in caplog.records)
    for place, content in {
        "the log": caplog.text + logged,
        "standard output": captured.out,
        "standard error": captured.err,
    }.items():
        assert search(marks, content.encode()) == [], place


def test_an_unexpected_failure_leaves_no_trace_either(
    app: FastAPI,
    tmp_path: Path,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    marks = [marker() for _ in range(5)]

    def break_down(*_: object, labels: list[str], **__: object) -> None:
        raise RuntimeError(f"cannot work with {labels}")

    monkeypatch.setattr(app.state.inference, "adapt", break_down)
    caplog.set_level(logging.WARNING, logger="httpx2")
    caplog.set_level(logging.WARNING, logger="httpx")
    caplog.set_level(logging.DEBUG)
    assert send(app, marks, **good(marks)) == 500
    assert traces(app, marks, tmp_path / "var", scratch) == []
    assert search(marks, caplog.text.encode()) == []


def test_these_tests_would_find_a_trace(
    app: FastAPI, tmp_path: Path, scratch: Path, written: list[bytes]
) -> None:
    marks = [marker()]
    (scratch / marks[0]).write_text("x")
    (tmp_path / "var" / "leak").write_text(f"before {marks[0]} after")
    with app.state.database.write() as session:
        session.query(PoolRow).one().description = marks[0]
    found = traces(app, marks, tmp_path / "var", scratch)
    for place in ("name of", "var/leak", "table pools"):
        assert any(place in each for each in found), place
    with (
        tempfile.SpooledTemporaryFile(max_size=1) as file,
        pytest.raises(AssertionError, match="rolled over"),
    ):
        file.write(marks[0].encode())
    assert search(marks, written[0]) == marks
