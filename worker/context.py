"""What a job's code is given: adapters, where to work, and whether it should stop."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from pool.database.session import Database
from pool.domain import JobRun
from pool.settings import Settings
from pool.storage.store import ObjectStore


class Canceled(Exception):
    """Somebody asked this job to stop."""


class TryAgain(Exception):
    """This machine failed, not the job: another attempt may succeed."""


class DiskFull(TryAgain):
    """There is no room for this job's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """The surroundings of one job process."""

    settings: Settings
    database: Database
    store: ObjectStore
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def workspace(self, run: JobRun) -> Iterator[Path]:
        """An empty directory that is gone afterwards; a killed run's is found by its name."""
        self.settings.work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # It may be gone before its end: a run that lost its lease counts as dead.
        with TemporaryDirectory(
            prefix=f"{run.holder}-", dir=self.settings.work_dir, ignore_cleanup_errors=True
        ) as directory:
            yield Path(directory)

    def check_stop(self) -> None:
        """Return if the job may go on.

        Raises:
            Canceled: it should not.
        """
        if self.stop.is_set():
            raise Canceled
