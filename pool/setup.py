"""Bring a deployment's database up to date and make its first key: `python -m pool.setup`."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

from pool.database.session import Database
from pool.settings import Settings
from pool.usecases.bootstrap import bootstrap

ROOT = Path(__file__).resolve().parent.parent


def migrate(database_url: str, revision: str = "head") -> None:
    """Upgrade the schema to a revision."""
    command.upgrade(alembic_config(database_url), revision)


def alembic_config(database_url: str) -> Config:
    """Alembic's configuration for one database, wherever the caller stands."""
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["database_url"] = database_url
    return config


def main() -> None:
    """Migrate, make what is missing, and print a new admin key if one was made."""
    settings = Settings()
    migrate(settings.database)
    database = Database(settings.database)
    given = settings.bootstrap_key
    made = bootstrap(database, given.get_secret_value() if given else None)
    database.dispose()
    if made is not None:
        sys.stdout.write(
            f"\nYour admin API key, shown this once (only its hash is kept):\n\n    {made}\n\n"
        )


if __name__ == "__main__":
    main()
