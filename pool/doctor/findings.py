"""What a check says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pool.settings import Settings

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: what was looked at, how it is, what to do."""

    check: str
    state: State
    detail: str
    advice: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def ok(check: str, detail: str) -> Finding:
    """It is as it should be."""
    return Finding(check=check, state="ok", detail=detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """It works, and should not stay so."""
    return Finding(check=check, state="warning", detail=detail, advice=advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    """It does not work, or is dangerous."""
    return Finding(check=check, state="failed", detail=detail, advice=advice)
