"""Make an organisation and its first admin key: `python -m pool.organisations add "North ward"`."""

import argparse
import sys
from collections.abc import Sequence

from sqlalchemy import select

from pool.database.session import Database
from pool.database.tables import OrganisationRow
from pool.errors import OrganisationExists
from pool.settings import Settings
from pool.usecases.organisations import add_organisation, create_admin_key

MAX_NAME_CHARS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Add one and show its key this once, or list all; 1 where the name is taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="make one, with a pool and an admin key of its own")
    adding.add_argument("name", type=_name)
    commands.add_parser("list", help="show ids and names")
    given = parser.parse_args(arguments)
    database = Database(Settings().database)
    try:
        if given.command == "add":
            return _add(database, given.name)
        _list(database)
    finally:
        database.dispose()
    return 0


def _add(database: Database, name: str) -> int:
    try:
        with database.write() as session:
            organisation = add_organisation(session, name)
            key = create_admin_key(session, organisation.id)
    except OrganisationExists as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(
        f"id: {organisation.id}\n"
        f"admin key, shown this once (only its hash is kept): {key}\n"
        "Owners of pools take it in with PUT /v1/pools/{pool}/members/" + organisation.id + "\n"
    )
    return 0


def _list(database: Database) -> None:
    with database.read() as session:
        for row in session.scalars(select(OrganisationRow).order_by(OrganisationRow.created_at)):
            sys.stdout.write(f"{row.id} {row.name}\n")


def _name(text: str) -> str:
    """A name that a line shows as it is."""
    if not text.strip() or len(text) > MAX_NAME_CHARS or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"a name is 1 to {MAX_NAME_CHARS} printable characters, not only blanks"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
