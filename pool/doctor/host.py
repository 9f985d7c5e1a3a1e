"""The state directory: whose it is, and how much room it has."""

import os
import shutil
from collections.abc import Iterator

from pool.doctor.findings import Finding, failed, ok, warning
from pool.settings import MIB, Settings

UPLOADS_AT_ONCE = 4


def check_state_directory(settings: Settings) -> Iterator[Finding]:
    """Whether this process can work in it and nobody else can read it."""
    var = settings.var_dir
    if not var.is_dir():
        yield failed(
            "directory",
            "the directory of MODELPOOL_VAR is not there",
            "Run `make migrate` (python -m pool.setup), which makes it.",
        )
        return
    if not os.access(var, os.R_OK | os.W_OK | os.X_OK):
        yield failed(
            "directory",
            "this user cannot write into the directory of MODELPOOL_VAR",
            "Give it to the user that the server runs as: chown -R USER DIRECTORY.",
        )
        return
    if var.stat().st_mode & 0o077:
        yield warning(
            "directory",
            "other users of this host can read the directory of MODELPOOL_VAR",
            "Close it: chmod 700 DIRECTORY.",
        )
    else:
        yield ok("directory", "writable, closed to others")


def check_room(settings: Settings) -> Iterator[Finding]:
    """Whether uploads and jobs find room for their files."""
    if not settings.var_dir.is_dir():
        return  # said already
    free = shutil.disk_usage(settings.var_dir).free
    needed = settings.max_checkpoint_bytes
    detail = f"{free // MIB} MiB free, the largest upload takes {needed // MIB} MiB"
    if free < needed:
        yield failed("room", detail, "Make room, or lower MODELPOOL_MAX_CHECKPOINT_BYTES.")
    elif free < UPLOADS_AT_ONCE * needed:
        yield warning("room", detail, "Make room: several uploads come at once.")
    else:
        yield ok("room", detail)
