"""The pages in a real browser, over the application behind a real web server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from live import serving
from playwright.sync_api import Browser, Page, expect, sync_playwright

from demo.browser import FLAGS, PROGRAMS, find_chromium
from tests.factories import ADMIN

PATIENCE_MS = 20_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; of a module, not the session, since its event loop is in other tests' way."""
    program = find_chromium()
    if program is None:
        pytest.skip(f"no Chromium here: apt-get install {PROGRAMS[0]}, or set MODELPOOL_CHROMIUM")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def site(app: FastAPI) -> Iterator[str]:
    """Where the pages are."""
    with serving(app) as url:
        yield url
        app.state.followers.close()  # a page that waits for a job must not hold the end up


@pytest.fixture
def open_page(browser: Browser, site: str) -> Iterator[Callable[..., Page]]:
    """Open the pages in a window of their own; what a script throws fails the test."""
    contexts, thrown = [], []

    def opened(
        address: str = "/", *, width: int = 1280, scheme: str = "light", key: str | None = ADMIN
    ) -> Page:
        context = browser.new_context(
            base_url=site,
            viewport={"width": width, "height": 800},
            color_scheme=scheme,  # type: ignore[arg-type]
            has_touch=width < 600,
            is_mobile=width < 600,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: thrown.append(str(error)))
        page.on("console", lambda said: _note_violation(thrown, said.text))
        page.goto(address)
        if key is not None:
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Sign in").click()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert thrown == []


def _note_violation(thrown: list[str], text: str) -> None:
    if "Content Security Policy" in text or "Error:" in text:
        thrown.append(text)


@pytest.fixture
def photographs(tmp_path: Path, encode: Callable[..., bytes]) -> Callable[..., list[Path]]:
    """Image files whose names must not leave the browser."""

    def written(*numbers: int) -> list[Path]:
        paths = [tmp_path / f"ward-7-patient-{number}.png" for number in numbers]
        for path, number in zip(paths, numbers, strict=True):
            path.write_bytes(encode(number))
        return paths

    return written
