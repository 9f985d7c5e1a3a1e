"""A curator in a real browser: order a build over the pool, watch it run, believe its report."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from looking import WATCH_FORMS, overflow_px, serious_findings
from playwright.sync_api import Page, expect

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import BuildRow, JobRow, MetaLearnerRow, ModelRow
from pool.domain import JobKind, JobRun, JobStatus
from pool.settings import Settings
from pool.storage.store import build_state_key, model_key
from pool.usecases.resume import note_saved
from tests.factories import QUICK_MULTI_TEACHER, claim_next, small_checkpoint
from worker.context import JobContext
from worker.jobs.build import build_meta_learner

pytestmark = pytest.mark.xdist_group("browser-builds")

HOSTILE = '<img src=x onerror="window.ran=1">'


@pytest.fixture
def context(settings: Settings, app: FastAPI, database: Database) -> JobContext:
    """What a job process works with."""
    return JobContext(settings=settings, database=database, store=app.state.store)


@pytest.fixture
def ready_models(context: JobContext, add_model: Callable[..., ModelRow]) -> list[ModelRow]:
    """Three models with their weights, as inspection leaves them; the name of one is markup."""
    models = []
    for seed, name in enumerate(("ward 1", "ward 2", HOSTILE)):
        data = small_checkpoint(seed, n_classes=5)
        said = {"class_names": list("abcde"), "image_size": 16, "std": [0.5]}
        digest = hashlib.sha256(data).hexdigest()
        models.append(add_model(name=name, canonical_sha256=digest, **said))
        context.store.put(model_key(models[-1].id), io.BytesIO(data), len(data))
    return models


def claimed(database: Database) -> JobRun:
    return claim_next(database, JobKind.BUILD)


def tell(database: Database, run: JobRun, step: int, **metrics: float) -> None:
    """Progress as a worker writes it down."""
    where = {"stage": "distil", "eta_s": 90.0}
    payload = {**where, "step": step, "total_steps": 8, "fraction": step / 8, "metrics": metrics}
    with database.write() as session:
        jobs.record(session, run, "progress", payload, progress=step / 8, **where)  # type: ignore[arg-type]


def test_a_build_is_ordered_watched_and_reported(
    open_page: Callable[..., Page], context: JobContext, ready_models: list[ModelRow]
) -> None:
    page = open_page("/#/builds")
    page.get_by_role("link", name="Order a build").click()
    expect(page.get_by_text("No build of this kind has run here yet")).to_be_visible()
    page.get_by_text("More: seed").click()
    page.get_by_label("Numbers of your own").fill(json.dumps(QUICK_MULTI_TEACHER))
    page.get_by_label("Choose them").check()
    page.get_by_label("ward 2").uncheck()
    expect(page.get_by_text("2 of 3 chosen")).to_be_visible()
    assert serious_findings(page) == []
    page.get_by_role("button", name="Order the build").click()
    expect(page.get_by_text("a worker that is free")).to_be_visible()
    build_meta_learner(context, claimed(context.database))
    expect(page.get_by_role("heading", name="Report")).to_be_visible()
    expect(page.get_by_role("link", name="Try it on images")).to_be_visible()
    expect(page.get_by_text("Made of 2 models, 12 steps")).to_be_visible()
    expect(page.locator(".log")).to_contain_text("Loading 2 teachers.")
    assert page.evaluate("window.ran") is None
    assert serious_findings(page) == []
    page.get_by_role("link", name="Order another like it").click()
    expect(page.get_by_text("2 of 3 chosen")).to_be_visible()
    expect(page.get_by_text("of this kind over about as many models here")).to_be_visible()


REPORT = {
    "estimate": {
        "kind": "recovered",
        "n_episodes": 100,
        "way": 5,
        "n_images": 400,
        "n_teachers_asked": 8,
        "n_teachers": 8,
        "shots": {"1": {"accuracy": 0.38, "interval": [0.364, 0.396]}},
    },
    "baselines": [
        {
            "name": "pixels",
            "what": "no network",
            "shots": {"1": {"accuracy": 0.4, "interval": [0.37, 0.43]}},
        }
    ],
    "warnings": [
        {"code": "baseline-not-beaten", "baseline": "pixels", "message": f"{HOSTILE} is as good."}
    ],
}


def test_a_report_shows_the_baselines_and_where_they_are_not_beaten(
    open_page: Callable[..., Page],
    database: Database,
    add_meta_learner: Callable[..., MetaLearnerRow],
) -> None:
    learner = add_meta_learner(report=REPORT)
    run = claimed(database)
    with database.write() as session:
        session.get_one(BuildRow, learner.build_id).meta_learner_id = learner.id
        jobs.finish(session, run, JobStatus.SUCCEEDED)
    page = open_page(f"/#/builds/{learner.build_id}", scheme="dark", width=360)
    expect(page.locator(".exam tbody tr")).to_have_text(
        ["This meta-learner38.0 ± 1.6", "The pixels themselves40.0 ± 3.0"]
    )
    expect(page.get_by_text("Not shown to be better than a trivial way:")).to_be_visible()
    expect(page.get_by_text(f"{HOSTILE} is as good.")).to_be_visible()
    assert page.evaluate("window.ran") is None
    assert serious_findings(page) == []
    assert overflow_px(page) == 0


def test_progress_is_drawn_as_it_comes(
    open_page: Callable[..., Page], database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    tell(database, run, 2, distillation_loss=2.5, gradient_alignment=0.1)
    page = open_page(f"/#/builds/{build_id}")
    figure = page.get_by_role("figure").filter(has_text="Gradient alignment")
    expect(figure.locator(".last")).to_have_text("0.100")
    tell(database, run, 4, distillation_loss=1.5, gradient_alignment=0.25)
    expect(figure.locator(".last")).to_have_text("0.250")
    expect(figure.get_by_role("img", name="Gradient alignment: 0.100 at")).to_be_visible()
    expect(page.get_by_text("50 %")).to_be_visible()
    expect(page.get_by_text("Left, about")).to_be_visible()


def test_a_build_is_cancelled_only_after_asking_back(
    open_page: Callable[..., Page], database: Database, running: tuple[str, JobRun]
) -> None:
    page = open_page(f"/#/builds/{running[0]}")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Let it run").click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the build").click()
    expect(page.get_by_role("heading").locator(".tag")).to_have_text("cancelled")


def test_a_cancelled_build_with_a_saved_state_is_resumed_as_another(
    open_page: Callable[..., Page],
    context: JobContext,
    database: Database,
    add_model: Callable[..., ModelRow],
    add_build: Callable[..., BuildRow],
) -> None:
    build = add_build(add_model(), add_model())
    context.store.put(build_state_key(build.id), io.BytesIO(b"state"), 5)
    with database.write() as session:
        note_saved(session, build.id)
        assert jobs.cancel(session, build.job_id)
    page = open_page(f"/#/builds/{build.id}", width=360)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("a worker that is free")).to_be_visible()
    assert serious_findings(page) == []
    page.get_by_role("link", name="an earlier build").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()

    context.store.delete(build_state_key(build.id))
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing of this build is saved")


def test_an_interrupted_build_says_that_it_goes_on_by_itself(
    open_page: Callable[..., Page], database: Database, running: tuple[str, JobRun]
) -> None:
    _, run = running
    with database.write() as session:
        job = session.get_one(JobRow, run.job_id)
        assert jobs.abandon(session, job, max_attempts=3, why="died") is JobStatus.QUEUED
    page = open_page(f"/#/builds/{running[0]}")
    expect(page.get_by_text("nobody needs to resume it")).to_be_visible()


def test_without_streams_events_come_page_by_page(
    open_page: Callable[..., Page], database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    page = open_page(key=None)
    page.route(f"**/v1/builds/{build_id}/events", lambda route: route.fulfill(status=503))
    page.get_by_label("API key").fill("mp_an-admins-key-of-the-tests")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    page.goto(f"/#/builds/{build_id}")
    tell(database, run, 6, distillation_loss=0.75)
    expect(page.get_by_role("figure").locator(".last")).to_have_text("0.750")
    with database.write() as session:
        jobs.finish(session, run, JobStatus.FAILED, error="The models say nothing.")
    expect(page.get_by_text("It failed. The models say nothing.")).to_be_visible()


def test_images_to_examine_on_go_with_the_order_without_their_names(
    open_page: Callable[..., Page],
    ready_models: list[ModelRow],
    photographs: Callable[..., list[Path]],
) -> None:
    page = open_page("/#/builds/new", width=360)
    page.get_by_text("Images of your own to examine it on").click()
    for number in (1, 2):
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name=f"Add images to class {number}").click()
        if number == 2:  # one class alone is not left out in silence
            page.get_by_role("button", name="Order the build").click()
            expect(page.get_by_role("alert")).to_contain_text("two classes")
        chooser.value.set_files(photographs(2 * number, 2 * number + 1))
        expect(page.get_by_alt_text(f"Image 2 of Class {number}")).to_be_visible()
    assert (serious_findings(page), overflow_px(page)) == ([], 0)
    page.evaluate(WATCH_FORMS)
    with page.expect_response("**/v1/builds") as answer:
        page.get_by_role("button", name="Order the build").click()
    assert answer.value.status == 202
    sent = page.evaluate("window.sent")
    assert [value for name, value in sent if name == "labels"] == ["Class 1"] * 2 + ["Class 2"] * 2
    assert [value for name, value in sent if name == "validation"] == ["image"] * 4


def test_a_server_that_is_away_is_said_so_and_asked_again(
    open_page: Callable[..., Page], database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    page = open_page("/#/builds")
    expect(page.get_by_role("link", name="free")).to_be_visible()
    page.route(f"**/v1/builds/{build_id}/events**", lambda route: route.abort())
    page.get_by_role("link", name="free").click()
    expect(page.get_by_text("No answer from the server.")).to_be_visible()
    tell(database, run, 6, distillation_loss=0.75)
    page.unroute(f"**/v1/builds/{build_id}/events**")
    expect(page.get_by_role("figure").locator(".last")).to_have_text("0.750")
    with database.write() as session:
        jobs.finish(session, run, JobStatus.SUCCEEDED)
    expect(page.get_by_text("No answer from the server.")).to_have_count(0)


def test_an_estimate_is_what_builds_of_the_same_kind_took(open_page: Callable[..., Page]) -> None:
    page = open_page(key=None)
    tiny, small = ({"algorithm": "free", "config": {"preset": each}} for each in ("tiny", "small"))
    earlier = [
        {
            "status": status,
            "recipe": recipe,
            "n_models": n_models,
            "started_at": "2026-01-01T10:00:00Z",
            "finished_at": f"2026-01-01T10:00:{seconds}Z",
        }
        for status, recipe, n_models, seconds in (
            ("succeeded", tiny, 8, 20),
            ("succeeded", tiny, 9, 40),
            ("succeeded", tiny, 90, 55),
            ("failed", tiny, 8, 11),
            ("succeeded", small, 8, 12),
        )
    ]

    def told(recipe: object, n_models: int) -> str:
        said: str = page.evaluate(
            "async (given) => (await import('/ui/js/builds/estimate.js')).estimate(...given)",
            [earlier, recipe, n_models],
        )
        return said

    assert told(tiny, 8).startswith("20 s to 40 s: so long took 2 builds")
    assert told(tiny, 60).startswith("The nearest build of this kind took 55 s over 90 models")
    changed = {"algorithm": "free", "config": {"preset": "tiny", "outer_steps": 9}}
    assert told(changed, 8).startswith("No build of this kind has run here yet")


def test_without_builds_and_models_pages_say_what_they_need(
    open_page: Callable[..., Page],
) -> None:
    page = open_page("/#/builds", width=360, scheme="dark")
    expect(page.get_by_role("heading", name="No build yet")).to_be_visible()
    assert overflow_px(page) == 0
    page.get_by_role("link", name="Order a build").click()
    expect(page.get_by_role("link", name="upload models")).to_be_visible()
    expect(page.get_by_role("button", name="Order the build")).to_be_disabled()
    assert serious_findings(page) == []


def test_a_build_that_is_not_there_is_said_so(open_page: Callable[..., Page]) -> None:
    page = open_page("/#/builds/bld_nothing")
    expect(page.get_by_role("alert")).to_contain_text("There is no build of this id")


def test_where_too_many_follow_the_page_says_so_and_follows_again_if_asked(
    open_page: Callable[..., Page], database: Database, running: tuple[str, JobRun]
) -> None:
    build_id, run = running
    refused = {"title": "Too many", "detail": "Too many follow.", "status": 429}
    page = open_page("/#/builds")
    expect(page.get_by_role("link", name="free")).to_be_visible()
    page.route(
        f"**/v1/builds/{build_id}/events**", lambda route: route.fulfill(status=429, json=refused)
    )
    page.get_by_role("link", name="free").click()
    expect(page.get_by_role("alert")).to_contain_text("Too many follow.")
    page.unroute(f"**/v1/builds/{build_id}/events**")
    tell(database, run, 6, distillation_loss=0.75)
    page.get_by_role("button", name="Follow it again").click()
    expect(page.get_by_role("figure").locator(".last")).to_have_text("0.750")
