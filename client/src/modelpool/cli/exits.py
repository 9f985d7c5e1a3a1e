"""Exit codes, and which error gives which; the README lists them."""

from enum import IntEnum

from modelpool.errors import (
    ModelpoolError,
    NotAuthorised,
    NotLoggedIn,
    Refused,
    Unreachable,
    UnusableFile,
    UploadFailed,
    WrongServer,
)


class Exit(IntEnum):
    """What a script can tell apart."""

    OK = 0
    REFUSED = 1  # the server said no
    USAGE = 2  # wrong options, or a file or folder that cannot be used
    UNREACHABLE = 3  # no server answers, or none that this client speaks to
    UNAUTHORISED = 4  # not logged in, or the key may not do this
    BAD_END = 5  # a checkpoint was rejected, or a build failed or was canceled
    INTERRUPTED = 130  # Ctrl-C


OF_ERRORS: tuple[tuple[type[ModelpoolError], Exit], ...] = (
    (NotAuthorised, Exit.UNAUTHORISED),
    (NotLoggedIn, Exit.UNAUTHORISED),
    (Refused, Exit.REFUSED),
    (Unreachable, Exit.UNREACHABLE),
    (WrongServer, Exit.UNREACHABLE),
    (UnusableFile, Exit.USAGE),
    (UploadFailed, Exit.BAD_END),
)


def exit_of(error: ModelpoolError) -> Exit:
    """The exit code that an error ends a command with."""
    return next((code for kind, code in OF_ERRORS if isinstance(error, kind)), Exit.REFUSED)
