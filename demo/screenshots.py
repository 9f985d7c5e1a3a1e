"""`python -m demo.screenshots`: the tutorials' pictures, taken of the demo's server as it stands.

Needs a finished `make demo` that is still up, Chromium, and Playwright (`make test` installs both).
"""

import io
import sys

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from demo import server
from demo.browser import FLAGS, find_chromium
from demo.errors import DemoError

IMAGES = server.ROOT / "docs" / "tutorials" / "images"
WIDTH, HEIGHT = 1100, 760
COLOURS = 96  # of a picture: pages are flat, and the files stay small
PATIENCE_MS = 60_000


def main() -> int:
    """Take all of them; the process's exit code."""
    running, program = server.running(), find_chromium()
    if running is None or program is None:
        no_server = "The demo's server is not up: run `make demo` first."
        print(no_server if running is None else "There is no Chromium here.", file=sys.stderr)
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = browser.new_page(
            base_url=running.url, viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB"
        )
        try:
            take_all(page)
        except DemoError as error:
            print(error, file=sys.stderr)
            return 1
        browser.close()
    return 0


def take_all(page: Page) -> None:
    """The three people's pages, in the order of the tutorials."""
    page.goto("/")
    page.get_by_label("API key").wait_for()
    take(page, "sign-in")
    page.get_by_label("API key").fill(server.api_key())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Playground").wait_for()
    contribute(page)
    build(page)
    predict(page)


def contribute(page: Page) -> None:
    """The upload form with one of the demo's checkpoints; the pool."""
    checkpoint = next(iter(sorted((server.VAR / "clients").glob("*.safetensors"))), None)
    if checkpoint is None:
        raise DemoError("The demo's checkpoints are gone; run `make demo` again.")
    page.goto("/#/upload")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files(checkpoint)  # without its manifest, so that the form is seen
    page.get_by_label("Image side, pixels").fill("32")
    page.get_by_label("Class names").fill("zero\none\ntwo\nthree\nsix")
    take(page, "upload")
    page.goto("/#/pool")
    page.locator(".model").first.wait_for()
    take(page, "pool")


def build(page: Page) -> None:
    """An order; the report of the demo's build."""
    page.goto("/#/builds")
    page.get_by_role("link", name="Order a build").click()
    page.get_by_role("button", name="Order the build").wait_for()
    take(page, "order")
    page.goto("/#/builds")
    page.locator("a[href*='build']").filter(has_text="multi_teacher").first.click()
    report = page.get_by_role("heading", name="Report")
    report.wait_for()
    report.scroll_into_view_if_needed()
    page.evaluate("window.scrollBy(0, 400)")
    take(page, "report")


def predict(page: Page) -> None:
    """The playground with drawn samples and their answers."""
    page.goto("/#/playground")
    page.get_by_role("button", name="Handwriting").click()
    expect(page.locator(".answer .verdict").first).to_be_visible()
    page.locator(".outlook").scroll_into_view_if_needed()
    take(page, "playground")


def take(page: Page, name: str) -> None:
    """One picture of what is in the window, once nothing moves."""
    page.wait_for_load_state("networkidle")
    taken = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    taken.convert("RGB").quantize(COLOURS).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
