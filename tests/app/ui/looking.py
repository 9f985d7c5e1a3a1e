"""What every page must be: usable by those who do not see it, and on a phone."""

from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

WATCH_FORMS = """() => {
    window.sent = [];
    const fetched = window.fetch;
    window.fetch = (url, options) => {
      for (const [name, value] of options.body?.entries?.() ?? []) {
        window.sent.push([name, value.name ?? value]);
      }
      return fetched(url, options);
    };
}"""
"""Note the parts of each form that a page sends, files by their names."""


def serious_findings(page: Page) -> list[dict[str, Any]]:
    """What axe finds that keeps people out, briefly."""
    found = Axe().run(page).response["violations"]
    return [
        {"rule": each["id"], "where": [node["html"][:120] for node in each["nodes"][:3]]}
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def overflow_px(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    width: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return width


def drop(page: Page, onto: Locator, *paths: Path) -> None:
    """Drag files or folders from outside the browser and let them go over an element."""
    box = onto.bounding_box()
    assert box is not None
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "data": data}
    session = page.context.new_cdp_session(page)
    for step in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": step, **where})
