"""Check this deployment: `python -m pool.doctor [--json]`; exit code 1 if anything failed.

No secret is printed: findings name settings, never their values.
"""

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict

from pydantic import ValidationError

from pool.doctor.findings import Check, Finding, failed, ok
from pool.doctor.host import check_room, check_state_directory
from pool.doctor.neighbours import check_neighbours
from pool.doctor.services import check_broker, check_database, check_store, check_workers
from pool.doctor.settings import check_exposure, check_secrets, check_times
from pool.settings import Settings

CHECKS: tuple[Check, ...] = (
    check_secrets,
    check_times,
    check_exposure,
    check_state_directory,
    check_room,
    check_database,
    check_store,
    check_broker,
    check_workers,
    check_neighbours,
)


def examine() -> Iterator[Finding]:
    """Every check, each on its own: one that breaks down does not hide the others."""
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            names = [f"MODELPOOL_{str(part).upper()}" for part in fault["loc"]]
            detail = ": ".join([*names, fault["msg"]])
            yield failed("settings", detail, "Correct it; README.md lists all settings.")
        return
    yield ok("settings", f"complete for {settings.environment}")
    for check in CHECKS:
        try:
            yield from check(settings)
        except Exception as error:  # noqa: BLE001  # what it says may quote a secret
            name = check.__name__.removeprefix("check_").replace("_", " ")
            yield failed(name, f"broke down ({type(error).__name__})", "Check its settings.")


def main() -> int:
    """Print a line per finding; the exit code."""
    logging.disable(logging.CRITICAL)  # libraries would repeat in many words what is found
    findings = list(examine())
    if "--json" in sys.argv[1:]:
        sys.stdout.write(json.dumps([asdict(each) for each in findings], indent=1) + "\n")
    else:
        for each in findings:
            advice = f" -> {each.advice}" if each.advice else ""
            sys.stdout.write(f"{each.state:8} {each.check:15} {each.detail}{advice}\n")
    return int(any(each.state == "failed" for each in findings))


if __name__ == "__main__":
    sys.exit(main())
