"""The whole way in one go: checkpoints into the pool, a build over them, answers to images."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from looking import drop
from playwright.sync_api import Page, expect

from pool.database.session import Database
from pool.domain import JobKind
from pool.settings import Settings
from tests.factories import claim_next, small_checkpoint, small_manifest
from worker.context import JobContext
from worker.jobs.build import build_meta_learner
from worker.jobs.inspect import inspect_model

pytestmark = pytest.mark.xdist_group("browser-journey")


def test_from_checkpoints_to_answers(
    open_page: Callable[..., Page],
    app: FastAPI,
    settings: Settings,
    database: Database,
    tmp_path: Path,
) -> None:
    worker = JobContext(settings=settings, database=database, store=app.state.store)
    files = []
    for seed in range(2):
        files += [tmp_path / f"ward-{seed}.safetensors", tmp_path / f"ward-{seed}.json"]
        files[-2].write_bytes(small_checkpoint(seed))
        files[-1].write_text(json.dumps(small_manifest(f"ward {seed}")))

    page = open_page()
    expect(page.get_by_role("heading", name="No meta-learner yet")).to_be_visible()
    page.get_by_role("link", name="Upload models").click()
    drop(page, page.locator(".drop"), *files)
    page.get_by_role("button", name="Upload 2 checkpoints").click()
    for seed in range(2):
        card = page.get_by_role("article", name=f"ward-{seed}.safetensors")
        expect(card.get_by_text("The server takes it apart")).to_be_visible()
        inspect_model(worker, claim_next(database, JobKind.INSPECT))
        expect(card.get_by_text("In the pool; builds may use it.")).to_be_visible()

    page.get_by_role("link", name="Builds").click()
    page.get_by_role("link", name="Order a build").click()
    page.get_by_role("radio", name="Ensemble").check()
    page.get_by_role("button", name="Order the build").click()
    expect(page.get_by_text("a worker that is free")).to_be_visible()
    build_meta_learner(worker, claim_next(database, JobKind.BUILD))
    page.get_by_role("link", name="Try it on images").click()

    page.get_by_role("button", name="Patterns").click()
    expect(page.locator(".answer .verdict")).to_have_count(8)
    expect(page.locator(".outlook")).to_contain_text("expected to be right")
