"""Check the audit trail: `python -m pool.audit verify`; compare with a head noted earlier."""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from pool.database.audit import BEGINNING, HEAD, Broken, first_broken
from pool.database.audit_tables import AuditEventRow, AuditHeadRow
from pool.database.session import Database
from pool.settings import Settings

ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a check found."""

    seq: int
    sha256: str
    broken: Broken | None


def verify(database: Database, *, noted: tuple[int, str] | None = None) -> Verdict:
    """Read the whole chain, in one consistent view of it.

    Args:
        database: whose.
        noted: number and digest of an event as they once were. Whoever can write the database can
            write a whole new chain; what was noted elsewhere tells.
    """
    with database.read() as session:
        if session.get_bind().dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        head = session.get(AuditHeadRow, HEAD)
        query = select(AuditEventRow).order_by(AuditEventRow.seq)
        # Closed also where a broken event ends the reading early: it is a cursor of the server's.
        with session.scalars(query.execution_options(yield_per=ROWS_AT_ONCE)) as events:
            broken = first_broken(events, head)
        if broken is None and noted is not None:
            broken = _as_noted(session, *noted)
    return Verdict(
        seq=head.seq if head else 0, sha256=head.sha256 if head else BEGINNING, broken=broken
    )


def _as_noted(session: Session, seq: int, sha256: str) -> Broken | None:
    event = session.get(AuditEventRow, seq)
    found = event.sha256 if event is not None else BEGINNING if seq == 0 else None
    if found == sha256:
        return None
    return Broken(seq=seq, why="it is not the event that was noted; the chain was written anew")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the chain's length and head, or its first broken event; 1 where it is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("verify", help="check every event's digest")
    checking.add_argument(
        "--noted", type=_noted, metavar="SEQ:SHA256", help="what an earlier check printed as head"
    )
    given = parser.parse_args(arguments)
    database = Database(Settings().database)
    try:
        found = verify(database, noted=given.noted)
    finally:
        database.dispose()
    if found.broken is not None:
        sys.stderr.write(f"The chain is broken at event {found.broken.seq}: {found.broken.why}.\n")
        return 1
    sys.stdout.write(f"{found.seq:,} events, unbroken. Note the head: {found.seq}:{found.sha256}\n")
    return 0


def _noted(text: str) -> tuple[int, str]:
    if not re.fullmatch("[0-9]{1,18}:[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError("a head is NUMBER:SHA256, as an earlier check printed it")
    seq, _, sha256 = text.partition(":")
    return int(seq), sha256


if __name__ == "__main__":
    sys.exit(main())
