"""Somebody at the pages: does with pointer and keyboard what a person would, and counts it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from playwright.sync_api import Locator, Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a journey asked of somebody."""

    clicks: int
    """Each press of the pointer's button, those into fields and in the file dialogue included."""
    fields: int
    """Fields that something was typed or pasted into."""
    seconds: float
    """From the request for the first page to the last thing seen; a program reads and types."""


class Person:
    """Acts on one page; the clock runs from the beginning."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._clicks = self._fields = 0
        self._began = time.monotonic()

    def click(self, target: Locator) -> None:
        """Once, with the pointer, as soon as it can be seen and is enabled."""
        target.click()
        self._clicks += 1

    def write(self, field: Locator, text: str) -> None:
        """Click into an empty field and type."""
        self.click(field)
        field.press_sequentially(text)
        self._fields += 1

    def choose(self, button: Locator, files: Sequence[Path]) -> None:
        """Files that lie in one folder, from the system's dialogue, which opens on that folder."""
        with self.page.expect_file_chooser() as chooser:
            self.click(button)
        self._clicks += clicks_in_dialogue(len(files))
        chooser.value.set_files(files)

    def effort(self) -> Effort:
        """So far."""
        seconds = time.monotonic() - self._began
        return Effort(clicks=self._clicks, fields=self._fields, seconds=seconds)


def clicks_in_dialogue(files: int) -> int:
    """The file, or the first and, with Shift, the last of several; then `Open`.

    Raises:
        ValueError: nothing is chosen.
    """
    if files < 1:
        raise ValueError("somebody who chooses no file makes no journey")
    return min(files, 2) + 1


def summary(efforts: Sequence[Effort]) -> tuple[str, str, str]:
    """Clicks, fields, seconds of some runs: the median, and the range where they differ."""
    return (
        _median_and_range([effort.clicks for effort in efforts], ".0f"),
        _median_and_range([effort.fields for effort in efforts], ".0f"),
        _median_and_range([effort.seconds for effort in efforts], ".1f"),
    )


def _median_and_range(values: Sequence[float], form: str) -> str:
    low, middle, high = (f"{value:{form}}" for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"
