"""Which failures are of what a job stands on, and pass: a store, a database, a disk."""

import errno

from sqlalchemy.exc import DBAPIError

from pool.database.races import is_lost_race, is_outage
from pool.errors import StorageFull, StorageUnavailable
from worker.context import DiskFull

FULL = (errno.ENOSPC, errno.EDQUOT)


def outage_of(error: Exception) -> str | None:
    """What is away or full, for whoever follows the job; None when the job itself may be at fault.

    An outage ends no job, however long it lasts.
    """
    match error:
        case StorageUnavailable():
            return "The object store did not answer"
        case StorageFull() | DiskFull():
            return "There was no room on the worker's disk or in the object store"
        case OSError() if error.errno in FULL:
            return "There was no room on the worker's disk"
        case DBAPIError() if is_outage(error) or is_lost_race(error):
            return "The database did not answer"
    return None
