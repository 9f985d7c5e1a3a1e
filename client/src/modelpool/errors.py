"""What can go wrong, each with what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Any


class ModelpoolError(Exception):
    """The root of all that this package raises; its text says what to do."""


class Unreachable(ModelpoolError):
    """No answer came."""


class WrongServer(ModelpoolError):
    """Something answers there, but no server that this client can speak to."""


class NotLoggedIn(ModelpoolError):
    """Neither an address nor a key is known."""


class UnusableFile(ModelpoolError):
    """A file or folder of this machine is not what was asked for."""


class UploadFailed(ModelpoolError):
    """The server could not make a model of the bytes that it received."""


class Refused(ModelpoolError):
    """The server said no: an RFC 9457 problem document."""

    def __init__(
        self,
        *,
        status: int,
        code: str,
        title: str,
        detail: str,
        faults: Sequence[Mapping[str, str]] = (),
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{title}: {detail}" if title else detail)
        self.status = status
        self.code = code
        """Stable, for programs."""
        self.title = title
        self.detail = detail
        self.faults = tuple(faults)
        """What is wrong with which part of the request."""
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def as_json(self) -> dict[str, Any]:
        """The problem as it came."""
        return {
            "status": self.status,
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
            "errors": [dict(fault) for fault in self.faults],
            "request_id": self.request_id,
        }


class NotAuthorised(Refused):
    """The key is not valid, or may not do this."""
