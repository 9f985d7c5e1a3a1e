"""The client for asyncio: the same operations, awaited; `modelpool.client` explains them.

async with AsyncClient() as pool:
    model = await pool.push("model.safetensors", manifest)
    async for build in pool.builds():
        ...
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from modelpool import calls, flows
from modelpool.async_learning import AsyncLearning
from modelpool.records import (
    Manifest,
    Model,
    Pool,
    Upload,
    UploadProgress,
    Usage,
    Version,
)
from modelpool.transport import check_version, login_of
from modelpool.wire import Patience, Pause

T = TypeVar("T")


class AsyncClient(AsyncLearning):
    """A connection to one server; safe to share between tasks of one event loop."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience: Patience | None = None,
        on_pause: Callable[[Pause], None] = lambda _: None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(
            login_of(url, key),
            patience=patience or Patience(),
            on_pause=on_pause,
            transport=transport,
        )

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.close()

    async def version(self) -> Version:
        """`Client.version`."""
        return await self.do(calls.version())

    async def check_version(self) -> Version:
        """`Client.check_version`."""
        answer = await self._exchange(calls.version())
        check_version(self.login.url, answer.content)
        found: Version = answer.content
        return found

    async def usage(self) -> Usage:
        """`Client.usage`."""
        return await self.do(calls.usage())

    async def pools(self) -> list[Pool]:
        """`Client.pools`."""
        return (await self.do(calls.pools()))["items"]

    async def create_pool(self, name: str, *, description: str | None = None) -> Pool:
        """`Client.create_pool`."""
        return await self.do(calls.create_pool(name, description=description))

    def models(
        self,
        *,
        pool: str | None = None,
        status: str | None = None,
        name: str | None = None,
        backbone: str | None = None,
        domain: str | None = None,
    ) -> AsyncIterator[Model]:
        """`Client.models`."""
        where = {"pool": pool, "status": status, "q": name, "backbone": backbone, "domain": domain}
        return self._list("/v1/models", **where)

    async def model(self, model_id: str) -> Model:
        """`Client.model`."""
        return await self.do(calls.model(model_id))

    async def wait_for_model(self, model_id: str) -> Model:
        """`Client.wait_for_model`."""
        return await self.run(flows.inspected(model_id, self.patience))

    async def withdraw_model(self, model_id: str) -> Model:
        """`Client.withdraw_model`."""
        return await self.do(calls.withdraw_model(model_id))

    async def push(
        self,
        checkpoint: str | Path | flows.Checkpoint,
        manifest: Manifest,
        *,
        upload_id: str | None = None,
        part_size: int | None = None,
        watcher: flows.Watcher | None = None,
    ) -> Model:
        """`Client.push`."""
        model_id = await self.send(
            checkpoint, manifest, upload_id=upload_id, part_size=part_size, watcher=watcher
        )
        return await self.wait_for_model(model_id)

    async def send(
        self,
        checkpoint: str | Path | flows.Checkpoint,
        manifest: Manifest,
        *,
        upload_id: str | None = None,
        part_size: int | None = None,
        watcher: flows.Watcher | None = None,
    ) -> str:
        """`Client.send`."""
        if not isinstance(checkpoint, flows.Checkpoint):
            checkpoint = await asyncio.to_thread(flows.checkpoint_at, Path(checkpoint))
        flow = flows.pushed(
            checkpoint,
            manifest,
            base_url=self.login.url,
            patience=self.patience,
            upload_id=upload_id,
            part_size=part_size,
            watcher=watcher or flows.Watcher(),
        )
        return await self.run(flow)

    def uploads(self) -> AsyncIterator[Upload]:
        """`Client.uploads`."""
        return self._list("/v1/uploads")

    async def upload(self, upload_id: str) -> UploadProgress:
        """`Client.upload`."""
        return await self.do(calls.upload(upload_id))

    async def abort_upload(self, upload_id: str) -> Upload:
        """`Client.abort_upload`."""
        return await self.do(calls.abort_upload(upload_id))

    async def request(self, method: str, path: str, **parts: Any) -> Any:
        """`Client.request`."""
        return await self.do(calls.any_call(method, path, **parts))
