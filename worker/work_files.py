"""What killed runs left where jobs keep their files: an upload's bytes, perhaps."""

import logging
import shutil

from pool.database import jobs
from pool.database.session import Database
from pool.settings import Settings

log = logging.getLogger(__name__)


def clear_work_files(settings: Settings, database: Database) -> None:
    """Delete the work directories of runs that hold no job any more.

    A run makes its directory after it has claimed its job, and its name begins with the run's.
    Every worker looks after its own host: the directory is no part of the object store.
    """
    if not settings.work_dir.is_dir():
        return
    holder_of = {entry: entry.name.partition("-")[0] for entry in settings.work_dir.iterdir()}
    if not holder_of:
        return
    with database.read() as session:
        living = jobs.holders(session)
    for entry, holder in holder_of.items():
        if holder not in living:
            shutil.rmtree(entry, ignore_errors=True)
            log.info("deleted the files of a run that ended", extra={"holder": holder})
