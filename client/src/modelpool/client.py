"""The client: one server, one key, typed records.

    with Client() as pool:                       # as `modelpool login` or the environment says
        model = pool.push("model.safetensors", manifest)
        build = pool.wait_for_build(pool.start_build("default")["id"])
        answer = pool.predict(build["meta_learner_id"], support=[("cat", png), ...], query=[png])

Every method raises `Refused` (`NotAuthorised` for 401 and 403) with the server's stable code, or
`Unreachable`. Requests are sent again, with back-off and `Retry-After`, where that is safe:
creating ones carry an `Idempotency-Key`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from modelpool import calls, flows
from modelpool.learning import Learning
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


class Client(Learning):
    """A connection to one server; safe to share between threads."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience: Patience | None = None,
        on_pause: Callable[[Pause], None] = lambda _: None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Open it; nothing is sent yet.

        Args:
            url: the server's address; without url and key, those of the environment
                (`MODELPOOL_URL`, `MODELPOOL_KEY`) or of `modelpool login`.
            key: an API key.
            patience: how often and how long to try again.
            on_pause: told of every pause before a request is sent again.
            transport: httpx's, for tests.

        Raises:
            NotLoggedIn: neither was given, and nothing is known.
        """
        super().__init__(
            login_of(url, key),
            patience=patience or Patience(),
            on_pause=on_pause,
            transport=transport,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    # The server and who asks.

    def version(self) -> Version:
        """The server's release and API; needs no key."""
        return self.do(calls.version())

    def check_version(self) -> Version:
        """The same, if this client speaks that API.

        Raises:
            WrongServer: it does not, or this is no Modelpool server.
        """
        answer = self._exchange(calls.version())
        check_version(self.login.url, answer.content)
        found: Version = answer.content
        return found

    def usage(self) -> Usage:
        """Quotas, and what is used of them."""
        return self.do(calls.usage())

    # Pools and models.

    def pools(self) -> list[Pool]:
        """The pools that the organisation belongs to."""
        return self.do(calls.pools())["items"]

    def create_pool(self, name: str, *, description: str | None = None) -> Pool:
        """Make an empty pool."""
        return self.do(calls.create_pool(name, description=description))

    def models(
        self,
        *,
        pool: str | None = None,
        status: str | None = None,
        name: str | None = None,
        backbone: str | None = None,
        domain: str | None = None,
    ) -> Iterator[Model]:
        """Models, newest first; those whose name begins with `name`, by name."""
        where = {"pool": pool, "status": status, "q": name, "backbone": backbone, "domain": domain}
        return self._list("/v1/models", **where)

    def model(self, model_id: str) -> Model:
        """One model."""
        return self.do(calls.model(model_id))

    def wait_for_model(self, model_id: str) -> Model:
        """One model, once it is inspected: look at its `status`, `reason` and `recipe`."""
        return self.run(flows.inspected(model_id, self.patience))

    def withdraw_model(self, model_id: str) -> Model:
        """Take a model back."""
        return self.do(calls.withdraw_model(model_id))

    def push(
        self,
        checkpoint: str | Path | flows.Checkpoint,
        manifest: Manifest,
        *,
        upload_id: str | None = None,
        part_size: int | None = None,
        watcher: flows.Watcher | None = None,
    ) -> Model:
        """Send a checkpoint and wait for its inspection; a rejected one is returned, too.

        The arguments are those of `send`.
        """
        model_id = self.send(
            checkpoint, manifest, upload_id=upload_id, part_size=part_size, watcher=watcher
        )
        return self.wait_for_model(model_id)

    def send(
        self,
        checkpoint: str | Path | flows.Checkpoint,
        manifest: Manifest,
        *,
        upload_id: str | None = None,
        part_size: int | None = None,
        watcher: flows.Watcher | None = None,
    ) -> str:
        """Send a checkpoint in parts; the id of the model that it becomes, not inspected yet.

        Args:
            checkpoint: a file, or what `checkpoint_at` says of it.
            manifest: what it is.
            upload_id: of an interrupted push of the same bytes: what was sent stays sent.
            part_size: bytes of a part; None leaves it to the server.
            watcher: is told the upload's record and how many bytes are there.

        Raises:
            UploadFailed: the bytes that arrived are not those of the file.
        """
        if not isinstance(checkpoint, flows.Checkpoint):
            checkpoint = flows.checkpoint_at(Path(checkpoint))
        flow = flows.pushed(
            checkpoint,
            manifest,
            base_url=self.login.url,
            patience=self.patience,
            upload_id=upload_id,
            part_size=part_size,
            watcher=watcher or flows.Watcher(),
        )
        return self.run(flow)

    def uploads(self) -> Iterator[Upload]:
        """Resumable uploads, newest first."""
        return self._list("/v1/uploads")

    def upload(self, upload_id: str) -> UploadProgress:
        """One upload: what arrived, and what comes next."""
        return self.do(calls.upload(upload_id))

    def abort_upload(self, upload_id: str) -> Upload:
        """Give an upload up."""
        return self.do(calls.abort_upload(upload_id))

    def request(self, method: str, path: str, **parts: Any) -> Any:
        """Any other operation (keys, members, audit), such as `request("GET", "/v1/keys")`."""
        return self.do(calls.any_call(method, path, **parts))
