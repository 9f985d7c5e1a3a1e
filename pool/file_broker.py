"""Kombu's filesystem transport, made safe for several processes at once.

Kombu writes a message under its final name, so a reader can see it half written, and then the
whole worker ends with a JSON error (celery/kombu issue 1551). Here a message appears complete or
not at all, and one that cannot be read is passed over: the sweep sends its job's id again. While
the directory is away there are no messages, as with a broker that is away: workers wait for it.
"""

import logging
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

log = logging.getLogger(__name__)

TABLE_TRIES, TABLE_PAUSE_S = 50, 0.02


class Channel(filesystem.Channel):
    """Messages as files that appear by renaming."""

    def _put(self, queue: str, payload: dict[str, Any], **_: object) -> None:  # type: ignore[override]
        name = f"{time.time_ns():020d}_{uuid.uuid4()}.{queue}.msg"
        folder = Path(self.data_folder_out)
        partial = folder / f"{name}.partial"
        try:
            partial.write_bytes(dumps(payload).encode())
            partial.replace(folder / name)
        finally:
            partial.unlink(missing_ok=True)

    def _get(self, queue: str) -> dict[str, Any]:  # type: ignore[override]
        while True:
            try:
                message: dict[str, Any] = super()._get(queue)
            except ValueError:
                log.warning("a message of queue %s cannot be read and is passed over", queue)
                continue
            except OSError as error:  # kombu would end the worker
                raise Empty from error
            return message

    def get_table(self, exchange: str) -> list[Any]:
        """The exchange's queues; a table that another process is just writing is read again."""
        for _ in range(TABLE_TRIES):
            try:
                table: list[Any] = super().get_table(exchange)
            except ValueError:
                time.sleep(TABLE_PAUSE_S)
                continue
            return table
        raise OSError(f"the table of exchange {exchange} cannot be read")

    def _queue_bind(self, exchange: str, *args: object) -> None:
        for _ in range(TABLE_TRIES):
            try:
                super()._queue_bind(exchange, *args)
            except ValueError:
                time.sleep(TABLE_PAUSE_S)
                continue
            return
        raise OSError(f"the table of exchange {exchange} cannot be written")


class Transport(filesystem.Transport):
    """The transport behind `filesystem://` in this server's processes."""

    Channel = Channel


def register() -> None:
    """Let `filesystem://` mean this transport."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
