"""Promise: a validation set lies sealed while its build is not over, and nowhere afterwards."""

import io
import json
import logging
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import (
    QUICK_MULTI_TEACHER,
    build_now,
    claim_next,
    organisation_of,
    small_checkpoint,
    small_manifest,
    upload,
)
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import select, text
from starlette.testclient import TestClient

from app.main import create_app
from pool.database import jobs, repository
from pool.database.session import Database
from pool.database.tables import Base, JobRow
from pool.database.validation_tables import BuildValidationRow
from pool.domain import JobKind, JobStatus
from pool.errors import ObjectMissing
from pool.settings import Settings
from pool.storage.store import build_validation_key, open_store
from pool.usecases.sweep import sweep, sweep_leftovers
from pool.usecases.validation import open_sealed
from tests.conftest import ADMIN_KEY
from worker import run_job
from worker.context import JobContext
from worker.jobs import build
from worker.jobs.inspect import inspect_model

SIDE, CLASSES, OF_EACH = 16, 3, 6


class Sent:
    """An order with noise for images, and every form in which noise could lie about."""

    def __init__(self) -> None:
        rng = np.random.default_rng(secrets.randbits(64))
        self.labels = [f"label{secrets.token_hex(12)}" for _ in range(CLASSES)]
        self.name = f"file{secrets.token_hex(12)}.png"
        self.parts: list[tuple[str, Any]] = []
        self.traces = [self.name.encode(), *(label.encode() for label in self.labels)]
        for label in self.labels * OF_EACH:
            pixels = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            self.parts += [
                ("validation", (self.name, file.getvalue())),
                ("labels", (None, label.encode())),
            ]
            row = pixels[SIDE // 2]
            self.traces += [
                row.tobytes(),
                (row.astype(np.float32) / 255).tobytes(),
                file.getvalue()[41:73],  # compressed pixels
            ]


@pytest.fixture
def app(settings: Settings, embedded: Database) -> Iterator[FastAPI]:
    made = create_app(settings)
    context = JobContext(settings=settings, database=embedded, store=open_store(settings))
    for seed in range(2):
        upload(embedded, context.store, small_checkpoint(seed), small_manifest(f"m{seed}"))
        inspect_model(context, claim_next(embedded, JobKind.INSPECT))
    yield made
    made.state.database.dispose()


@pytest.fixture
def context(settings: Settings, embedded: Database) -> JobContext:
    return JobContext(settings=settings, database=embedded, store=open_store(settings))


def order(app: FastAPI, sent: Sent, **config: object) -> str:
    recipe = {"algorithm": "multi_teacher", "config": QUICK_MULTI_TEACHER | config}
    client = TestClient(app, headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    request = ("request", (None, json.dumps({"recipe": recipe, "seed": 1}).encode()))
    answer = client.post(
        "/v1/builds", files=[request, *sent.parts], headers={"Idempotency-Key": "once"}
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def readable(context: JobContext, sent: Sent) -> list[str]:
    """Every file and table that holds a trace."""
    found = [
        str(path)
        for path in Path(context.settings.var_dir).rglob("*")
        if path.is_file() and any(trace in path.read_bytes() for trace in sent.traces)
    ]
    with context.database.read() as session:
        for table in Base.metadata.sorted_tables:
            rows = repr(session.execute(text(f"SELECT * FROM {table.name}")).all()).encode()
            found += [table.name for trace in sent.traces if trace in rows]
    return found


def kept(context: JobContext) -> list[object]:
    """Sealed sets and keys."""
    with context.database.read() as session:
        rows = list(session.scalars(select(BuildValidationRow)))
    return [key for key in context.store.keys("builds/") if key.endswith("sealed")] + rows


# How builds end.


def succeed(context: JobContext, app: FastAPI, build_id: str) -> JobStatus:
    build.build_meta_learner(context, claim_next(context.database, JobKind.BUILD))
    return JobStatus.SUCCEEDED


def cancel_queued(context: JobContext, app: FastAPI, build_id: str) -> JobStatus:
    client = TestClient(app, headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    assert client.post(f"/v1/builds/{build_id}/cancel").status_code == 202
    return JobStatus.CANCELED


def cancel_running(context: JobContext, app: FastAPI, build_id: str) -> JobStatus:
    run = claim_next(context.database, JobKind.BUILD)
    cancel_queued(context, app, build_id)
    context.stop.set()
    assert run_job._run(context, run)
    return JobStatus.CANCELED


def break_down(context: JobContext, app: FastAPI, build_id: str) -> JobStatus:
    run_job._failed(context, claim_next(context.database, JobKind.BUILD), ValueError("x"))
    return JobStatus.FAILED


def die(context: JobContext, app: FastAPI, build_id: str) -> JobStatus:
    """Its process dies once too often, and the sweep finds that out."""
    with context.database.write() as session:
        job_id = session.scalar(select(JobRow.id).where(JobRow.subject_id == build_id)) or ""
        assert jobs.claim(session, job_id, holder="run_dead", lease_s=-1)
    with context.database.write() as session:
        sweep(session, resend_after_s=60, max_attempts=1)
    return JobStatus.FAILED


@pytest.mark.parametrize("end", [succeed, cancel_queued, cancel_running, break_down, die])
def test_nothing_of_a_validation_set_is_readable_before_or_there_after_the_end(
    app: FastAPI,
    context: JobContext,
    caplog: pytest.LogCaptureFixture,
    end: Callable[[JobContext, FastAPI, str], JobStatus],
) -> None:
    caplog.set_level(logging.DEBUG)
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2"):
        caplog.set_level(logging.WARNING, logger=noisy)
    sent = Sent()
    build_id = order(app, sent)
    assert readable(context, sent) == []
    assert len(kept(context)) == 2  # the sealed set, and its key elsewhere

    status = end(context, app, build_id)

    assert build_now(context.database, build_id).job.status == status
    with context.database.read() as session:
        assert list(session.scalars(select(BuildValidationRow))) == []  # before any sweep
    sweep_leftovers(context.database, context.store, state_kept_s=0)
    assert kept(context) == []
    assert readable(context, sent) == []
    logged = (caplog.text + "".join(repr(vars(r)) for r in caplog.records)).encode()
    assert not any(trace in logged for trace in sent.traces)


def test_a_build_whose_process_died_once_still_reports_on_the_validation_set(
    app: FastAPI, context: JobContext
) -> None:
    build_id = order(app, Sent())
    with context.database.write() as session:
        job_id = session.scalar(select(JobRow.id).where(JobRow.subject_id == build_id)) or ""
        assert jobs.claim(session, job_id, holder="run_dead", lease_s=-1)
    with context.database.write() as session:
        sweep(session, resend_after_s=60, max_attempts=5)
    sweep_leftovers(context.database, context.store, state_kept_s=0)
    build.build_meta_learner(context, claim_next(context.database, JobKind.BUILD))
    learner_id = build_now(context.database, build_id).meta_learner_id or ""
    with context.database.read() as session:
        owner = organisation_of(context.database)
        report = repository.find_meta_learner(session, owner, learner_id).report
    estimate = report["estimate"]
    assert (estimate["kind"], estimate["way"], estimate["n_images"]) == ("validation", 3, 18)
    assert not any(w["code"] == "level-not-trustworthy" for w in report["warnings"])


def test_these_tests_would_find_it_and_another_build_cannot_open_it(
    app: FastAPI, context: JobContext, tmp_path: Path
) -> None:
    sent = Sent()
    build_id = order(app, sent)
    packed = open_sealed(context.database, context.store, build_id, tmp_path)
    assert packed is not None
    leak = Path(context.settings.var_dir) / "leak"
    leak.write_bytes(packed)
    assert readable(context, sent) == [str(leak)]

    other = order_again(app, context, Sent())
    sealed = tmp_path / "sealed"
    context.store.fetch(build_validation_key(build_id), sealed)
    data = sealed.read_bytes()
    context.store.put(build_validation_key(other), io.BytesIO(data), len(data))
    with pytest.raises(ObjectMissing):
        open_sealed(context.database, context.store, other, tmp_path)


def order_again(app: FastAPI, context: JobContext, sent: Sent) -> str:
    client = TestClient(app, headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    return str(client.post("/v1/builds", files=sent.parts).json()["id"])
