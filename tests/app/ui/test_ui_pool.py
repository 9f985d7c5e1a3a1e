"""Models into the pool and out of it, in a real browser, inspected by the real airlock."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from looking import overflow_px, serious_findings
from playwright.sync_api import Page, Route, expect

from ml.backbones import BACKBONES, build
from pool.database.session import Database
from pool.database.tables import ModelRow
from pool.domain import JobKind, ModelStatus
from pool.settings import Settings
from tests.factories import ADMIN, claim_next, small_checkpoint, small_manifest
from worker.context import JobContext
from worker.jobs.assemble import assemble_upload
from worker.jobs.inspect import inspect_model

pytestmark = pytest.mark.xdist_group("browser-pool")

MIB = 1024 * 1024
HOSTILE = "<img src=x onerror=window.ran=1>"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With room for real checkpoints."""
    return settings.model_copy(update={"max_checkpoint_bytes": 64 * MIB})


@pytest.fixture
def work(app: FastAPI, settings: Settings, database: Database) -> Callable[[JobKind], None]:
    """Do the oldest waiting job of a kind, as a worker would."""
    jobs = {JobKind.INSPECT: inspect_model, JobKind.ASSEMBLE: assemble_upload}

    def do(kind: JobKind) -> None:
        context = JobContext(settings=settings, database=database, store=app.state.store)
        jobs[kind](context, claim_next(database, kind))

    return do


def choose(page: Page, *files: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files(files)


def hold(_: Route) -> None:
    """A request that neither gets through nor fails."""


def send(page: Page) -> None:
    page.get_by_role("button", name="Upload 1 checkpoint").click()


def test_a_checkpoint_is_recognised_uploaded_inspected_and_found_in_the_pool(
    open_page: Callable[..., Page], work: Callable[[JobKind], None], tmp_path: Path
) -> None:
    page = open_page("/#/pool")
    expect(page.get_by_role("heading", name="The pool is empty")).to_be_visible()
    page.get_by_role("link", name="Upload models").first.click()
    (tmp_path / "ward-3.safetensors").write_bytes(small_checkpoint())
    choose(page, tmp_path / "ward-3.safetensors")
    expect(page.get_by_label("Backbone")).to_have_value("conv4")
    expect(page.get_by_label("Channels")).to_have_value("1")
    expect(page.get_by_text("The network has 3 outputs")).to_be_visible()
    send(page)
    expect(page.get_by_text("Its images are 16 to 224 pixels a side.")).to_be_visible()
    page.get_by_label("Image side, pixels").fill("16")
    page.get_by_label("Class names").fill(f"normal\n{HOSTILE}\neffusion")
    page.get_by_label("Fill in").select_option(index=2)
    send(page)
    expect(page.get_by_text("The server takes it apart")).to_be_visible()
    work(JobKind.INSPECT)
    expect(page.get_by_text("In the pool; builds may use it.")).to_be_visible()
    page.get_by_role("link", name="To the pool").click()
    card = page.locator(".model")
    expect(card).to_contain_text("ward-3")
    expect(card).to_contain_text("ready")
    expect(card).to_contain_text(HOSTILE)
    assert page.evaluate("window.ran") is None


def test_a_manifest_beside_a_checkpoint_fills_in_its_details(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    checkpoint, manifest = tmp_path / "m1.pt", tmp_path / "m1.json"
    checkpoint.write_bytes(b"a checkpoint")
    said = small_manifest("by its manifest", domain="radiology")
    manifest.write_text(json.dumps(said))
    page = open_page("/#/upload")
    choose(page, checkpoint, manifest)
    with page.expect_request("**/v1/models") as sent:
        send(page)
    record = sent.value.response().json()  # type: ignore[union-attr]
    assert {name: record[name] for name in said} == said


def test_a_refused_checkpoint_says_why_and_what_to_do(
    open_page: Callable[..., Page], work: Callable[[JobKind], None], tmp_path: Path
) -> None:
    (tmp_path / "m.pt").write_bytes(b"no checkpoint")
    (tmp_path / "m.json").write_text(json.dumps(small_manifest()))
    page = open_page("/#/upload")
    choose(page, tmp_path / "m.pt", tmp_path / "m.json")
    send(page)
    expect(page.get_by_text("The server takes it apart")).to_be_visible()
    work(JobKind.INSPECT)
    expect(page.get_by_label("Why it was not taken")).to_contain_text("neither safetensors nor")
    expect(page.get_by_label("What to do")).to_contain_text("save_file")


def test_a_large_checkpoint_goes_on_where_a_closed_page_left_it(
    open_page: Callable[..., Page], work: Callable[[JobKind], None], tmp_path: Path
) -> None:
    checkpoint, manifest = tmp_path / "large.pt", tmp_path / "large.json"
    checkpoint.write_bytes(bytes(range(256)) * (20 * MIB // 256))
    manifest.write_text(json.dumps(small_manifest("large")))
    page = open_page("/#/upload")
    page.get_by_role("heading", name="Upload models").wait_for()
    page.route("**/parts/3", hold)
    choose(page, checkpoint, manifest)
    with page.expect_response("**/parts/2"):
        send(page)
    expect(page.get_by_text("20.0 MiB,")).to_be_visible()
    page.reload()
    page.unroute("**/parts/3")
    page.get_by_label("API key").fill(ADMIN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Begun and not finished")).to_be_visible()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))
    choose(page, checkpoint, manifest)
    with page.expect_response("**/complete"):
        send(page)
    parts = [each.rsplit("/", 1)[-1] for each in sent if each.startswith("PUT")]
    assert parts == ["3"]
    work(JobKind.ASSEMBLE)
    expect(page.get_by_text("The server takes it apart")).to_be_visible()


def test_another_file_of_the_same_name_and_size_does_not_join_an_unfinished_upload(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    checkpoint, manifest = tmp_path / "large.pt", tmp_path / "large.json"
    checkpoint.write_bytes(b"1" * 17 * MIB)
    manifest.write_text(json.dumps(small_manifest("large")))
    page = open_page("/#/upload")
    page.route("**/parts/3", hold)
    choose(page, checkpoint, manifest)
    with page.expect_response("**/parts/2"):
        send(page)
    page.get_by_role("button", name="Leave out large.pt").click()
    checkpoint.write_bytes(b"2" * 17 * MIB)
    choose(page, checkpoint, manifest)
    with page.expect_response("**/parts/1") as part:
        send(page)
    assert part.value.ok


def test_models_are_searched_filtered_and_paged(
    open_page: Callable[..., Page], add_model: Callable[..., ModelRow]
) -> None:
    for number in range(26):
        add_model(name=f"x-ray {number:02}", domain="radiology")
    add_model(name=HOSTILE, status=ModelStatus.REJECTED, reason="<b>it</b> is broken")
    page = open_page("/#/pool")
    cards = page.locator(".model")
    expect(cards).to_have_count(24)
    page.get_by_role("button", name="Show more").click()
    expect(cards).to_have_count(27)
    page.get_by_label("Status").select_option("rejected")
    expect(cards).to_have_count(1)
    expect(cards).to_contain_text("<b>it</b> is broken")
    expect(cards.get_by_role("link")).to_have_text(HOSTILE)
    page.get_by_label("Name begins with").fill("x-ray 0")
    expect(page.get_by_role("heading", name="No model is like that")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").click()
    expect(cards).to_have_count(24)
    page.get_by_label("Name begins with").fill("X-RAY 1")
    expect(cards).to_have_count(10)
    assert "q=X-RAY+1" in page.url
    assert page.evaluate("window.ran") is None


def test_a_card_and_a_record_say_how_reliable_a_model_is_in_words_too(
    open_page: Callable[..., Page], add_model: Callable[..., ModelRow]
) -> None:
    add_model(name="untold")
    add_model(name="random", reliability=0.031)
    trained = add_model(name="trained", reliability=0.834)
    page = open_page("/#/pool")
    card = page.locator(".model")
    expect(card).to_have_count(3)
    expect(card.filter(has_text="trained")).to_contain_text("reliability 0.83: as expected")
    expect(card.filter(has_text="random")).to_contain_text("reliability 0.03: doubtful")
    expect(card.filter(has_text="untold")).not_to_contain_text("reliability")
    page.goto(f"/#/pool/{trained.id}")
    expect(page.get_by_text("0.83, as expected of a trained model")).to_be_visible()
    expect(page.get_by_text("It refuses nothing")).to_be_visible()


def test_on_a_phone_the_filters_are_folded_away_until_it_is_turned(
    open_page: Callable[..., Page], add_model: Callable[..., ModelRow]
) -> None:
    add_model()
    page = open_page("/#/pool", width=360)
    expect(page.locator(".model")).to_be_visible()
    expect(page.get_by_label("Status")).to_be_hidden()
    page.get_by_text("Search and filters").click()
    expect(page.get_by_label("Status")).to_be_visible()
    page.get_by_text("Search and filters").click()
    page.set_viewport_size({"width": 1000, "height": 700})
    expect(page.get_by_label("Status")).to_be_visible()


def test_a_model_is_withdrawn_after_a_question(
    open_page: Callable[..., Page], add_model: Callable[..., ModelRow]
) -> None:
    model = add_model(name="mine")
    page = open_page(f"/#/pool/{model.id}")
    page.get_by_role("button", name="Withdraw …").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_text("withdrawn", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Withdraw …").click()
    page.get_by_role("button", name="Withdraw it").click()
    expect(page.get_by_text("withdrawn", exact=True)).to_be_visible()


def test_a_model_that_is_not_there_is_said_so(open_page: Callable[..., Page]) -> None:
    page = open_page("/#/pool/mdl_nothing")
    expect(page.get_by_role("alert")).to_contain_text("model")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_every_backbone_is_recognised_by_its_tensors(open_page: Callable[..., Page]) -> None:
    page = open_page(key=None)
    known = page.evaluate("import('/ui/js/backbones.js').then(({BACKBONES}) => BACKBONES)")
    assert known == list(BACKBONES)
    kinds = [(name, 3) for name in BACKBONES] + [("conv4", 1), ("mobilenet_v3_small", 1)]
    shapes = []
    for name, channels in kinds:
        with torch.device("meta"):  # no numbers are needed
            module = build(name, n_classes=7, channels=channels, image_size=32)
        shapes.append([list(tensor.shape) for tensor in module.state_dict().values()])
    found = page.evaluate(
        "(shapes) => import('/ui/js/backbones.js')"
        ".then(({recognised}) => shapes.map((each) => recognised(each)))",
        shapes,
    )
    for (name, channels), seen in zip(kinds, found, strict=True):
        expected: dict[str, Any] = {"backbone": name, "n_classes": 7, "channels": channels}
        assert {**seen, **expected} == seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    open_page: Callable[..., Page],
    add_model: Callable[..., ModelRow],
    tmp_path: Path,
    scheme: str,
) -> None:
    add_model(name="ready", domain="radiology", reliability=0.2)
    model = add_model(
        name="rejected", status=ModelStatus.REJECTED, reason="no\n a | b", recipe="save it"
    )
    (tmp_path / "m.safetensors").write_bytes(small_checkpoint())
    page = open_page("/#/pool", scheme=scheme, width=360)
    expect(page.locator(".model")).to_have_count(2)
    assert (serious_findings(page), overflow_px(page)) == ([], 0)
    page.goto(f"/#/pool/{model.id}")
    expect(page.get_by_text("Not taken:")).to_be_visible()
    page.get_by_role("button", name="Withdraw …").click()
    assert (serious_findings(page), overflow_px(page)) == ([], 0)
    page.keyboard.press("Escape")
    page.goto("/#/upload")
    choose(page, tmp_path / "m.safetensors")
    expect(page.get_by_label("Backbone")).to_be_visible()
    assert (serious_findings(page), overflow_px(page)) == ([], 0)
