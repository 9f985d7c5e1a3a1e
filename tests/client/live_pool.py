"""A server with a worker, both on threads of the test's process: what a client talks to."""

import queue
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app
from pool.database import jobs
from pool.database.session import Database
from pool.domain import new_id
from pool.settings import Settings
from pool.setup import migrate
from pool.storage.store import open_store
from pool.usecases.bootstrap import bootstrap
from tests.app.live import serving
from tests.factories import ADMIN
from worker import run_job
from worker.context import JobContext

Message = tuple[str, str]


class Worker:
    """Runs each job as a job process does, when its message comes."""

    def __init__(self, settings: Settings) -> None:
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._database = Database(settings.database, send=self.send)
        self._settings = settings
        self._running: JobContext | None = None
        self._at_work = threading.Event()
        self._at_work.set()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def send(self, job_id: str, kind: str) -> None:
        """Take a message, as the broker does."""
        self._messages.put((job_id, kind))

    def rest(self) -> None:
        """Let messages lie until `resume`."""
        self._at_work.clear()

    def resume(self) -> None:
        """Go on."""
        self._at_work.set()

    def stop_job(self) -> None:
        """What SIGTERM does to a job's process."""
        if self._running is not None:
            self._running.stop.set()

    def close(self) -> None:
        """Stop what runs, and end."""
        self.stop_job()
        self._at_work.set()
        self._messages.put(None)
        self._thread.join()
        self._database.dispose()

    def _work(self) -> None:
        while (message := self._messages.get()) is not None:
            self._at_work.wait()
            self._run(*message)

    def _run(self, job_id: str, _: str) -> None:
        self._running = context = JobContext(
            settings=self._settings, database=self._database, store=open_store(self._settings)
        )
        with self._database.write() as session:
            run = jobs.claim(session, job_id, holder=new_id("run"), lease_s=600)
        if run is not None:
            run_job._run(context, run)
        self._running = None


class Gate:
    """Between client and server: counts parts that come, and lets one of them go astray."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._held: str | None = None
        self._opened = threading.Event()
        self.arrived = threading.Event()
        self.parts: list[str] = []
        GATES.append(self)

    def hold(self, end_of_path: str) -> None:
        """Let a request whose path ends so come, and keep it unanswered until `open`."""
        self.parts.clear()
        self._opened.clear()
        self.arrived.clear()
        self._held = end_of_path

    def open(self) -> None:
        """Hold nothing any more."""
        self._held = None
        self.parts.clear()
        self._opened.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if "/parts/" in path:
            self.parts.append(path.rpartition("/")[2])
        if self._held and path.endswith(self._held):
            self.arrived.set()
            await run_in_threadpool(self._opened.wait)
            await Response(status_code=503)(scope, receive, send)
            return
        await self._app(scope, receive, send)


GATES: list[Gate] = []


class LivePool:
    """One deployment, by its address, its key and its worker."""

    def __init__(self, url: str, worker: Worker) -> None:
        self.url, self.worker, self.key = url, worker, ADMIN
        self.gate = GATES[-1]


@contextmanager
def live_pool(var: Path, **settings: object) -> Iterator[LivePool]:
    """Set one up, serve it, end it."""
    made = Settings(var=var, threads=1, **settings)  # type: ignore[arg-type]
    var.mkdir(parents=True, exist_ok=True)
    migrate(made.database)
    bootstrapped = Database(made.database)
    bootstrap(bootstrapped, ADMIN)
    bootstrapped.dispose()
    worker = Worker(made)
    app = create_app(made)
    app.state.database._send = worker.send
    app.add_middleware(Gate)
    try:
        with serving(app) as url:
            live = LivePool(url, worker)
            yield live
            live.gate.open()
    finally:
        worker.close()
        shutil.rmtree(var, ignore_errors=True)
