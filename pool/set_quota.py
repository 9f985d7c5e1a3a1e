"""Give one organisation quotas of its own: `python -m pool.set_quota default --models 50`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from pool.database.limit_tables import QuotaRow
from pool.database.session import Database
from pool.database.tables import OrganisationRow
from pool.settings import Settings
from pool.usecases.quotas import Quotas, quotas_of

OPTIONS = {
    "bytes": "stored_bytes",
    "models": "live_models",
    "builds": "concurrent_builds",
    "predictions": "predictions_per_day",
}
DEFAULT = "default"


def main(arguments: Sequence[str] | None = None) -> int:
    """Change what is named, print what counts now; 1 where there is no such organisation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("organisation", help="its name or id")
    for option in OPTIONS:
        parser.add_argument(
            f"--{option}", type=_quota, metavar="N", help=f"a number, or {DEFAULT!r}"
        )
    given = vars(parser.parse_args(arguments))
    settings = Settings()
    database = Database(settings.database)
    with database.write() as session:
        organisation_id = _find(session, given["organisation"])
        if organisation_id is not None:
            _change(session, organisation_id, given)
            found = quotas_of(session, organisation_id, Quotas.of_deployment(settings))
    database.dispose()
    if organisation_id is None:
        sys.stderr.write("There is no such organisation.\n")
        return 1
    for option, column in OPTIONS.items():
        sys.stdout.write(f"{option}: {getattr(found, column):,}\n")
    return 0


def _find(session: Session, name_or_id: str) -> str | None:
    return session.scalar(
        select(OrganisationRow.id).where(
            or_(OrganisationRow.id == name_or_id, OrganisationRow.name == name_or_id)
        )
    )


def _change(session: Session, organisation_id: str, given: Mapping[str, Any]) -> None:
    row = session.get(QuotaRow, organisation_id) or QuotaRow(organisation_id=organisation_id)
    session.add(row)
    for option, column in OPTIONS.items():
        if given[option] is not None:
            setattr(row, column, None if given[option] == DEFAULT else given[option])
    session.flush()


def _quota(text: str) -> int | str:
    """A number from 0 on, or the word that removes the organisation's own quota."""
    if text == DEFAULT:
        return DEFAULT
    number = int(text)
    if number < 0:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
