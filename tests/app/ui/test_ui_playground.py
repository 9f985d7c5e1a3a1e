"""A person with a handful of images, in a real browser: from the key to answers to believe."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from looking import WATCH_FORMS, drop, overflow_px, serious_findings
from playwright.sync_api import Page, expect

from app.adaptations import Adaptations
from pool.database.tables import MetaLearnerRow
from pool.domain import Scope
from tests.factories import ADMIN

CLIENT = Path(__file__).resolve().parents[3] / "client" / "src"

pytestmark = pytest.mark.xdist_group("browser-playground")


@pytest.fixture
def learner(add_meta_learner: Callable[..., MetaLearnerRow]) -> MetaLearnerRow:
    """Somebody to ask."""
    return add_meta_learner()


def draw_patterns(page: Page) -> None:
    page.get_by_role("button", name="Patterns").click()
    expect(page.locator(".answer .verdict")).to_have_count(8)


def add_images(page: Page, to: str, files: list[Path]) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=to).click()
    chooser.value.set_files(files)


def test_a_key_that_is_not_valid_is_refused_in_the_servers_words(
    open_page: Callable[..., Page],
) -> None:
    page = open_page(key="mp_of-somebody-else-0123456789")
    expect(page.get_by_role("alert")).to_contain_text("key")
    expect(page.get_by_label("API key")).to_be_focused()


def test_a_key_stays_in_memory_or_if_wished_in_the_tab(
    open_page: Callable[..., Page], learner: MetaLearnerRow
) -> None:
    page = open_page()
    heading = page.get_by_role("heading", name="Playground")
    expect(heading).to_be_visible()
    kept = (
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    assert "mp_" not in page.evaluate(kept)
    page.reload()
    page.get_by_label("API key").fill("mp_an-admins-key-of-the-tests")
    page.get_by_label("Remember in this tab").check()
    page.get_by_role("button", name="Sign in").click()
    expect(heading).to_be_visible()
    page.reload()
    expect(heading).to_be_visible()
    assert "mp_" not in page.evaluate("JSON.stringify([{...localStorage}, document.cookie])")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert "mp_" not in page.evaluate(kept)


def test_drawn_samples_are_answered_with_what_to_expect(
    open_page: Callable[..., Page], learner: MetaLearnerRow
) -> None:
    page = open_page()
    draw_patterns(page)
    expect(page.locator(".outlook")).to_contain_text("expected to be right")
    first = page.locator(".answer").first
    shares = [text for text in first.locator(".bars .figures").all_inner_texts() if "%" in text]
    assert len(shares) == 4
    expect(first).to_contain_text("Most like this image of")
    expect(page.get_by_text("8 images answered")).to_contain_text("on the server")


def test_a_persons_own_images_reach_the_server_without_their_names_and_are_forgotten(
    app: FastAPI,
    open_page: Callable[..., Page],
    learner: MetaLearnerRow,
    photographs: Callable[..., list[Path]],
) -> None:
    page = open_page()
    page.get_by_label("Name of class 1").fill("cat")
    page.get_by_label("Name of class 2").fill("dog")
    page.evaluate(WATCH_FORMS)
    add_images(page, "Add images to class 1", photographs(1, 2))
    add_images(page, "Add images to class 2", photographs(3, 4))
    expect(page.locator(".outlook")).to_contain_text("expected to be right")
    add_images(page, "Choose images", photographs(1, 4))
    expect(page.locator(".answer .verdict")).to_have_text(["cat", "dog"])
    sent = page.evaluate("window.sent")
    assert [value for name, value in sent if name == "labels"][-4:] == ["cat", "cat", "dog", "dog"]
    assert {value for name, value in sent if name != "labels"} == {"image"}
    kept: Adaptations = app.state.adaptations
    assert len(kept._kept) == 1
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.get_by_role("button", name="Sign out").click()
    assert len(kept._kept) == 0


def test_dropped_folders_become_classes_and_dropped_files_queries(
    open_page: Callable[..., Page],
    learner: MetaLearnerRow,
    photographs: Callable[..., list[Path]],
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "cat", tmp_path / "dog"]
    for folder, images in zip(folders, (photographs(1, 2), photographs(3, 4)), strict=True):
        folder.mkdir()
        for image in images:
            image.rename(folder / image.name)
    (folders[0] / "notes.txt").write_text("no image")
    page = open_page()
    expect(page.locator(".bins")).to_be_visible()
    drop(page, page.locator(".bins"), *folders)
    expect(page.locator(".note")).to_contain_text("1 file is no image")
    expect(page.get_by_label("Name of class 1")).to_have_value("cat")
    expect(page.get_by_label("Name of class 2")).to_have_value("dog")
    drop(page, page.locator(".asking"), *photographs(1, 4))
    expect(page.locator(".answer .verdict")).to_have_text(["cat", "dog"])


PASTE = """(bytes) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], "clip.png", {type: "image/png"}));
    const event = new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true});
    document.activeElement.dispatchEvent(event);
}"""


def test_a_pasted_image_goes_to_the_class_that_has_the_focus_or_else_is_asked(
    open_page: Callable[..., Page], learner: MetaLearnerRow, encode: Callable[..., bytes]
) -> None:
    page = open_page()
    for number in (1, 2):
        page.get_by_label(f"Name of class {number}").focus()
        page.evaluate(PASTE, list(encode(number)))
        expect(page.get_by_alt_text(f"Image 1 of Class {number}")).to_be_visible()
    page.get_by_role("button", name="Choose images").focus()
    page.evaluate(PASTE, list(encode(2)))
    expect(page.locator(".answer .verdict")).to_have_text(["Class 2"])


def test_a_large_photograph_is_made_small_before_it_is_sent(
    open_page: Callable[..., Page],
    learner: MetaLearnerRow,
    encode: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(encode(1, mode="RGB", size=1500))
    assert large.stat().st_size > 6_000_000
    page = open_page()
    add_images(page, "Add images to class 1", [large])
    shown = page.get_by_alt_text("Image 1 of Class 1")
    expect(shown).to_be_visible()
    assert shown.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [1024, 1024]


def test_a_server_that_forgot_the_classes_is_told_them_again(
    app: FastAPI,
    open_page: Callable[..., Page],
    learner: MetaLearnerRow,
    photographs: Callable[..., list[Path]],
) -> None:
    page = open_page()
    draw_patterns(page)
    app.state.adaptations._kept.clear()
    add_images(page, "Choose images", photographs(5))
    expect(page.locator(".answer .verdict")).to_have_count(9)


def test_unsure_answers_are_held_back_if_wished(
    open_page: Callable[..., Page], learner: MetaLearnerRow, photographs: Callable[..., list[Path]]
) -> None:
    page = open_page()
    for number, images in ((1, (10, 11, 12)), (2, (13, 14, 15))):
        add_images(page, f"Add images to class {number}", photographs(*images))
    add_images(page, "Choose images", photographs(*range(16, 26)))
    expect(page.locator(".answer .verdict")).to_have_count(10)
    page.get_by_label("Hold back unsure answers").check()
    page.get_by_label("Share of queries to answer").select_option("0.5")
    expect(page.get_by_text("Not sure enough").first).to_be_visible()


def test_a_name_that_is_markup_stays_text(
    open_page: Callable[..., Page], learner: MetaLearnerRow, photographs: Callable[..., list[Path]]
) -> None:
    hostile = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>\'$(id)'
    page = open_page()
    page.get_by_label("Name of class 1").fill(hostile)
    add_images(page, "Add images to class 1", photographs(1))
    add_images(page, "Add images to class 2", photographs(2))
    add_images(page, "Choose images", photographs(1))
    expect(page.locator(".answer .verdict strong")).to_have_text(hostile)
    page.get_by_text("The same from a program").click()
    expect(page.locator("pre")).to_contain_text("'\\''$(id)'")  # one word to a shell
    assert page.evaluate("window.ran") is None


def test_the_same_request_for_a_shell_and_for_programs_runs_as_it_is_copied(
    site: str,
    open_page: Callable[..., Page],
    learner: MetaLearnerRow,
    photographs: Callable[..., list[Path]],
    encode: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    page = open_page()
    names = ("cat", "dog's <b>")
    for number, name in enumerate(names, 1):
        page.get_by_label(f"Name of class {number}").fill(name)
        add_images(page, f"Add images to class {number}", photographs(2 * number, 2 * number + 1))
    expect(page.locator(".outlook")).to_contain_text("expected to be right")
    page.get_by_text("The same from a program").click()
    here = tmp_path / "here"
    for name, word in zip(names, ("cat", "dog-s-b"), strict=True):
        (here / "classes" / name).mkdir(parents=True)
        for shot in (1, 2):
            for place in (here, here / "classes" / name):
                (place / f"{word}{shot}.jpg").write_bytes(encode(ord(word[0]) + shot))
    (here / "query.jpg").write_bytes(encode(ord("d") + 2))
    binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    keys = {"KEY": ADMIN, "MODELPOOL_KEY": ADMIN, "MODELPOOL_URL": site}
    paths = {"PATH": binaries, "PYTHONPATH": str(CLIENT), "HOME": str(tmp_path)}
    programs = {"curl": ["bash", "-c"], "Python": [sys.executable, "-c"], "CLI": ["bash", "-c"]}
    for name, program in programs.items():
        page.get_by_role("button", name=name, exact=True).click()
        ran = subprocess.run(
            [*program, page.locator("pre").inner_text()],
            cwd=here,
            env=keys | paths,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, "dog's <b>" in ran.stdout) == (0, True), (name, ran.stderr)


def test_everything_can_be_done_with_the_keyboard(
    open_page: Callable[..., Page], learner: MetaLearnerRow
) -> None:
    page = open_page(key=None)
    page.get_by_label("API key").focus()
    page.keyboard.type("mp_an-admins-key-of-the-tests")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outlined = page.evaluate(
            "[document.activeElement.getAttribute('aria-label') || document.activeElement.innerText"
            " || document.activeElement.tagName,"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.append(name)
        if name == "Choose images":
            break
        assert outlined == "solid" or name == "BODY", name
        if name == "Patterns":
            page.keyboard.press("Enter")
            expect(page.locator(".answer .verdict")).to_have_count(8)
    wanted = {"Handwriting", "Add images to class 1", "Remove image 1 of rings", "Add a class"}
    assert wanted - set(reached) == set()
    assert reached[-1] == "Choose images"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    open_page: Callable[..., Page], learner: MetaLearnerRow, scheme: str
) -> None:
    page = open_page(scheme=scheme, key=None)
    expect(page.get_by_label("API key")).to_be_visible()
    assert serious_findings(page) == []
    page = open_page(scheme=scheme, width=360)
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    draw_patterns(page)
    page.get_by_text("The same from a program").click()
    assert serious_findings(page) == []
    assert overflow_px(page) == 0


def test_without_a_meta_learner_the_page_says_how_to_get_one(
    open_page: Callable[..., Page],
) -> None:
    page = open_page()
    expect(page.get_by_role("heading", name="No meta-learner yet")).to_be_visible()


def test_a_meta_learner_of_an_address_that_is_not_there_is_said_so(
    open_page: Callable[..., Page], learner: MetaLearnerRow
) -> None:
    page = open_page("/#/playground?learner=ml_nothing")
    expect(page.get_by_role("alert")).to_contain_text("meta-learner")


def test_a_key_that_may_only_ask_names_the_meta_learner(
    open_page: Callable[..., Page],
    learner: MetaLearnerRow,
    with_scopes: Callable[..., object],
) -> None:
    client = with_scopes(Scope.PREDICT)
    key = client.headers["Authorization"].removeprefix("Bearer ")  # type: ignore[attr-defined]
    page = open_page(key=key)
    page.get_by_placeholder("ml_").fill(learner.id)
    draw_patterns(page)


def test_a_server_that_does_not_answer_is_said_so_and_can_be_tried_again(
    open_page: Callable[..., Page], learner: MetaLearnerRow
) -> None:
    page = open_page(key=None)
    page.route("**/v1/meta-learners?*", lambda route: route.abort())
    page.get_by_label("API key").fill("mp_an-admins-key-of-the-tests")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="No answer from the server")).to_be_visible()
    page.unroute("**/v1/meta-learners?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
