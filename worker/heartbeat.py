"""A worker's signs of life, from a thread of Celery's main process."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from pool.database import heartbeats
from pool.database.session import Database
from pool.domain import JobKind
from pool.queue import QUEUES
from pool.settings import Settings
from worker.supervise import ROOT
from worker.work_files import clear_work_files

log = logging.getLogger(__name__)

DEVICE_COMMAND = (sys.executable, "-m", "worker.device")
DEVICE_WITHIN_S = 120
_connected = threading.Lock()
"""Held while this process has a connection: no fork may carry one into a child."""


def _never_fork_a_connection() -> None:
    release = _connected.release
    os.register_at_fork(before=_connected.acquire, after_in_parent=release, after_in_child=release)


class Heartbeat:
    """Writes `heartbeats` every `heartbeat_s` until it is stopped."""

    def __init__(self, settings: Settings, name: str, queues: Sequence[str]) -> None:
        self._settings, self._name, self._queues = settings, name, sorted(queues)
        self._device: str | None = None
        self._device_ok = True
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Give signs of life from now on."""
        _never_fork_a_connection()
        self._thread.start()

    def stop(self) -> None:
        """Give none any more and say so."""
        self._stopped.set()
        self._thread.join()
        self._write(lambda session: heartbeats.stopped(session, self._name))

    def _run(self) -> None:
        self._clear_work_files()
        self._beat()
        if QUEUES[JobKind.BUILD] in self._queues:
            self._look_at_device()
            self._beat()
        while not self._stopped.wait(self._settings.heartbeat_s):
            self._beat()

    def _beat(self) -> None:
        self._write(
            lambda session: heartbeats.beat(
                session,
                self._name,
                queues=self._queues,
                device=self._device,
                device_ok=self._device_ok,
            )
        )

    def _write(self, change: Callable[[Session], None]) -> None:
        with _connected:
            database = Database(self._settings.database)
            try:
                with database.write() as session:
                    change(session)
            except SQLAlchemyError as error:
                log.warning("no sign of life given", extra={"cause": type(error).__name__})
            finally:
                database.dispose()

    def _clear_work_files(self) -> None:
        """Once, at the start: a power cut may have left some."""
        with _connected:
            database = Database(self._settings.database)
            try:
                clear_work_files(self._settings, database)
            except SQLAlchemyError as error:
                said = {"cause": type(error).__name__}
                log.warning("cannot look for files of dead runs", extra=said)
            finally:
                database.dispose()

    def _look_at_device(self) -> None:
        """In a process of its own: this one never imports torch."""
        try:
            looked = subprocess.run(  # noqa: S603  # our own module
                DEVICE_COMMAND, cwd=ROOT, capture_output=True, timeout=DEVICE_WITHIN_S, check=True
            )
            found = json.loads(looked.stdout)
        except (subprocess.SubprocessError, ValueError) as error:
            found = {"device": f"unknown ({type(error).__name__})", "ok": False}
        self._device, self._device_ok = str(found["device"]), bool(found["ok"])
        log.info("builds compute on %s", self._device)
