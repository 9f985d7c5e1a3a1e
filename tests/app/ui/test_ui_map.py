"""The task map, in a real browser: models in two dimensions, by real fingerprints."""

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from looking import overflow_px, serious_findings
from playwright.sync_api import Page, expect

from pool.database.session import Database
from pool.database.tables import ModelRow
from pool.domain import JobKind
from pool.settings import Settings
from tests.factories import claim_next, small_checkpoint, small_manifest, upload
from worker.context import JobContext
from worker.jobs.inspect import inspect_model

pytestmark = pytest.mark.xdist_group("browser-map")


@pytest.fixture
def context(app: FastAPI, settings: Settings, database: Database) -> JobContext:
    """What a worker of this deployment works with."""
    return JobContext(settings=settings, database=database, store=app.state.store)


@pytest.fixture
def models(context: JobContext) -> None:
    """Three real ones, inspected."""
    for seed in range(3):
        upload(
            context.database,
            context.store,
            small_checkpoint(seed),
            small_manifest(f"m{seed}", domain="letters" if seed else "digits"),
        )
        inspect_model(context, claim_next(context.database, JobKind.INSPECT))


def test_the_task_map_places_models_and_opens_them(
    open_page: Callable[..., Page], models: None, add_model: Callable[..., ModelRow]
) -> None:
    add_model(name="of an older release")
    page = open_page("/#/map", width=360)
    places = page.locator(".map a")
    expect(places).to_have_count(3)
    expect(page.get_by_label("Domains")).to_contain_text("letters")
    expect(page.get_by_text("1 ready model has no place")).to_be_visible()
    assert (serious_findings(page), overflow_px(page)) == ([], 0)
    expect(page.locator(".map a[tabindex='0']")).to_have_count(1)
    reached = set()
    places.first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
        reached.add(page.evaluate("document.activeElement.getAttribute('href')"))
    assert len(reached) == 3
    expect(page.locator(".told")).to_contain_text("conv4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="m", exact=False).first).to_be_visible()
    assert "#/pool/mdl_" in page.url


def test_without_two_models_the_map_says_what_it_needs(open_page: Callable[..., Page]) -> None:
    page = open_page("/#/map")
    expect(page.get_by_role("heading", name="Too few models for a map")).to_be_visible()
