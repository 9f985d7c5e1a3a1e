"""The browser in which journeys, pictures and the pages' tests run: Chromium without a window."""

import os
import shutil

PROGRAMS = ("chromium-headless-shell", "chromium")
"""The same engine; the first without a window's tabs and menus, which take time unseen."""
FLAGS = (
    "--no-sandbox",  # it may run as root, where Chromium has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str | None:
    """The program that MODELPOOL_CHROMIUM names, or the first of PROGRAMS that is installed."""
    found = (os.environ.get("MODELPOOL_CHROMIUM"), *map(shutil.which, PROGRAMS))
    return next(filter(None, found), None)
