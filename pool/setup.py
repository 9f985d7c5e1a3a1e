"""Bring a deployment's database up to date and make its first key: `python -m pool.setup`."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from pool.database.session import Database
from pool.settings import Settings
from pool.usecases.bootstrap import bootstrap
from pool.usecases.names import fold_left_names

LOCK_TIMEOUT_MS = 5000
LOCK_NOT_AVAILABLE = "55P03"
IN_USE = (
    "A long transaction holds a table that this migration changes; it gave up, and nothing is "
    "lost. Look for the transaction in pg_stat_activity, or wait for its end, and migrate again."
)
ROOT = Path(__file__).resolve().parent.parent


class TableInUse(Exception):
    """A migration gave up waiting for a table that somebody else holds."""


def migrate(
    database_url: str, revision: str = "head", *, lock_timeout_ms: int = LOCK_TIMEOUT_MS
) -> None:
    """Upgrade the schema to a revision.

    Raises:
        TableInUse: on PostgreSQL, a lock was not to be had in time; whoever queues behind a
            waiting migration would wait as well.
    """
    config = alembic_config(database_url)
    config.attributes["lock_timeout_ms"] = lock_timeout_ms
    try:
        command.upgrade(config, revision)
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise TableInUse(IN_USE) from error


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration for one database, wherever the caller stands."""
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["database_url"] = database_url
    return config


def main() -> None:
    """Migrate, mend and make what is missing, and print a new admin key if one was made."""
    settings = Settings()
    try:
        migrate(settings.database)
    except TableInUse as error:
        sys.exit(str(error))
    database = Database(settings.database)
    fold_left_names(database)
    given = settings.bootstrap_key
    made = bootstrap(database, given.get_secret_value() if given else None)
    database.dispose()
    if made is not None:
        sys.stdout.write(
            f"\nYour admin API key, shown this once (only its hash is kept):\n\n    {made}\n\n"
        )


if __name__ == "__main__":
    main()
