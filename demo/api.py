"""The server's web API as a client sees it; nothing here knows how the server works."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from demo.errors import DemoError

Record = dict[str, Any]
PAGE = 200
TIMEOUT_S = 120.0
SILENCE_S = 20.0
"""An event stream that says nothing for so long is opened again."""


class Refused(DemoError):
    """The server said no, as a problem document: title, detail, code."""


class Unreachable(DemoError):
    """The server does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event of a build."""

    id: str
    kind: str
    payload: Mapping[str, Any]


class Api:
    """A connection to one server with one key; safe to share between threads."""

    def __init__(self, url: str, key: str, *, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            trust_env=False,  # a proxy in the environment must not see a local server's requests
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def upload(self, checkpoint: Path, manifest: Mapping[str, Any]) -> Record:
        """Send a checkpoint and what it is; the same bytes twice give the same record."""
        with checkpoint.open("rb") as file:
            return self._ask(
                "POST",
                "/v1/models",
                files={
                    "checkpoint": (checkpoint.name, file, "application/octet-stream"),
                    "manifest": (None, json.dumps(manifest), "application/json"),
                },
            )

    def models(self) -> Iterator[Record]:
        """All of the organisation's models, newest first."""
        query: dict[str, str | int] = {"limit": PAGE}
        while True:
            page = self._ask("GET", "/v1/models", params=query)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def withdraw(self, model_id: str) -> Record:
        """Take a model back; its bytes go, and every ensemble that holds it."""
        return self._ask("DELETE", f"/v1/models/{model_id}")

    def start_build(
        self, models: Sequence[str], *, algorithm: str, preset: str, seed: int
    ) -> Record:
        """Order a meta-learner over some models of the default pool."""
        order = {
            "pool": "default",
            "recipe": {"algorithm": algorithm, "config": {"preset": preset}},
            "models": list(models),
            "seed": seed,
        }
        return self._ask("POST", "/v1/builds", json=order)

    def build(self, build_id: str) -> Record:
        """A build's record."""
        return self._ask("GET", f"/v1/builds/{build_id}")

    def cancel_build(self, build_id: str) -> Record:
        """Ask a build to stop."""
        return self._ask("POST", f"/v1/builds/{build_id}/cancel")

    def meta_learner(self, meta_learner_id: str) -> Record:
        """A meta-learner's record."""
        return self._ask("GET", f"/v1/meta-learners/{meta_learner_id}")

    def predict(
        self,
        meta_learner_id: str,
        *,
        support: Sequence[bytes],
        labels: Sequence[str],
        query: Sequence[bytes],
    ) -> list[str]:
        """Labels of query images, from labelled support images; all of them encoded, in memory."""
        answer = self._ask(
            "POST",
            f"/v1/meta-learners/{meta_learner_id}/predictions",
            files=[("support", ("image", image)) for image in support]
            + [("query", ("image", image)) for image in query],
            data={"labels": list(labels)},
        )
        return [prediction["label"] for prediction in answer["predictions"]]

    def events(self, build_id: str, *, after: str) -> Iterator[Event]:
        """A build's events after one of them ("0" for all), until the build or the stream ends."""
        timeout = httpx.Timeout(TIMEOUT_S, read=SILENCE_S)
        try:
            with self._http.stream(
                "GET",
                f"/v1/builds/{build_id}/events",
                headers={"Last-Event-ID": after},
                timeout=timeout,
            ) as response:
                if response.is_error:
                    response.read()
                    raise refusal(response)
                yield from read_events(response.iter_lines())
        except (httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ReadError):
            return

    def _ask(self, method: str, path: str, **parts: Any) -> Record:
        try:
            response = self._http.request(method, path, **parts)
        except httpx.HTTPError as error:
            raise Unreachable(f"The server does not answer ({type(error).__name__}).") from error
        if response.is_error:
            raise refusal(response)
        record: Record = response.json()
        return record


def is_ready(url: str) -> bool:
    """Whether a server answers there and says that its parts do."""
    try:
        answer = httpx.get(f"{url}/healthz/ready", timeout=2.0, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == httpx.codes.OK


def refusal(response: httpx.Response) -> Refused:
    """A problem document (RFC 9457) as an error that reads well; other bodies by their status."""
    try:
        problem = response.json()
        return Refused(f"{problem['title']}: {problem['detail']}")
    except (ValueError, KeyError, TypeError):
        return Refused(f"The server answered {response.status_code} {response.reason_phrase}.")


def read_events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events from a stream's lines; comments and unfinished events are dropped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            yield Event(
                id=fields.get("id", "0"),
                kind=fields.get("event", "message"),
                payload=json.loads(fields["data"]),
            )
        fields = {}
