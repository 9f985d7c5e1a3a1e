"""Every operation of the API as a `Call`; docs/openapi.json of the server has the details."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict
from urllib.parse import quote

from modelpool.records import (
    Adaptation,
    Alias,
    AliasDetail,
    Build,
    LearnerDetail,
    Manifest,
    Model,
    NextPart,
    Part,
    Pool,
    Predictions,
    Upload,
    UploadProgress,
    Usage,
    Version,
)
from modelpool.wire import Call, FilePart

PAGE = 100
WAIT_S = 20.0
"""How long the server may hold a request; shorter than proxies' patience."""
IMAGE = "application/octet-stream"
Form = dict[str, str | Sequence[str]]


class Page(TypedDict):
    """Some records, newest first."""

    items: list[Any]
    next_cursor: str | None


class AliasList(TypedDict):
    """All aliases of a pool."""

    items: list[Alias]


class PoolList(TypedDict):
    """All pools."""

    items: list[Pool]


def once(idempotency_key: str | None) -> dict[str, str]:
    """The header under which a creating request that is sent again creates nothing twice."""
    return {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}


def version() -> Call[Version]:
    """Needs no key."""
    return Call("GET", "/version", with_key=False)


def usage() -> Call[Usage]:
    """Any key may ask."""
    return Call("GET", "/v1/usage")


def pools() -> Call[PoolList]:
    """The organisation's pools."""
    return Call("GET", "/v1/pools")


def create_pool(
    name: str, *, description: str | None = None, idempotency_key: str | None = None
) -> Call[Pool]:
    """An empty pool."""
    order = {"name": name, "description": description}
    return Call("POST", "/v1/pools", json=order, headers=once(idempotency_key))


def aliases(pool: str) -> Call[AliasList]:
    """The pool's aliases."""
    return Call("GET", f"/v1/pools/{_word(pool)}/aliases")


def alias(pool: str, name: str) -> Call[AliasDetail]:
    """One alias with its history."""
    return Call("GET", f"/v1/pools/{_word(pool)}/aliases/{_word(name)}")


def set_alias(pool: str, name: str, learner_id: str, **fields: str | None) -> Call[Alias]:
    """Point it at a meta-learner; fields: `note`, `expected_meta_learner_id`."""
    order = {"meta_learner_id": learner_id, **fields}
    return Call("PUT", f"/v1/pools/{_word(pool)}/aliases/{_word(name)}", json=order)


def remove_alias(pool: str, name: str) -> Call[None]:
    """Let it point nowhere."""
    path = f"/v1/pools/{_word(pool)}/aliases/{_word(name)}"
    return Call("DELETE", path, has_json=False)


def page(path: str, *, cursor: str | None = None, **where: str | None) -> Call[Page]:
    """A page of any list."""
    query: dict[str, str | int | float] = {k: v for k, v in where.items() if v is not None}
    if cursor is not None:
        query["cursor"] = cursor
    return Call("GET", path, query={**query, "limit": PAGE})


def model(model_id: str, *, wait_s: float = 0.0) -> Call[Model]:
    """A model's record; with `wait_s`, when it is inspected or the wait is over."""
    return Call("GET", f"/v1/models/{model_id}", query=_wait(wait_s))


def withdraw_model(model_id: str) -> Call[Model]:
    """Take a model back."""
    return Call("DELETE", f"/v1/models/{model_id}")


def begin_upload(
    manifest: Manifest,
    *,
    size_bytes: int,
    sha256: str | None,
    part_size: int | None,
    idempotency_key: str | None = None,
) -> Call[Upload]:
    """Announce a checkpoint."""
    order: dict[str, Any] = {"manifest": manifest, "size_bytes": size_bytes}
    if sha256 is not None:
        order["sha256"] = sha256
    if part_size is not None:
        order["part_size"] = part_size
    return Call("POST", "/v1/uploads", json=order, headers=once(idempotency_key))


def upload(upload_id: str, *, wait_s: float = 0.0) -> Call[UploadProgress]:
    """How far an upload is, and where its next parts go."""
    return Call("GET", f"/v1/uploads/{upload_id}", query=_wait(wait_s))


def send_part(part: NextPart, url: str, body: FilePart, *, with_key: bool) -> Call[Part]:
    """One part to where it goes; a presigned URL takes no key."""
    headers = {"Content-Length": str(part["size_bytes"]), "Content-Type": IMAGE}
    return Call("PUT", url, body=body, headers=headers, with_key=with_key, has_json=False)


def complete_upload(upload_id: str) -> Call[Upload]:
    """Completing twice is the same as once."""
    return Call("POST", f"/v1/uploads/{upload_id}/complete", headers=once(None))


def abort_upload(upload_id: str) -> Call[Upload]:
    """Give an upload up."""
    return Call("DELETE", f"/v1/uploads/{upload_id}")


def start_build(
    pool: str,
    *,
    algorithm: str | None = None,
    config: Mapping[str, Any] | None = None,
    models: Sequence[str] | None = None,
    seed: int | None = None,
    validation: Sequence[tuple[str, bytes]] = (),
    idempotency_key: str | None = None,
) -> Call[Build]:
    """Order a meta-learner; with labelled images, its report is made on them."""
    recipe = {} if algorithm is None else {"algorithm": algorithm}
    order: dict[str, Any] = {"pool": pool, "recipe": {**recipe, "config": dict(config or {})}}
    if models is not None:
        order["models"] = list(models)
    if seed is not None:
        order["seed"] = seed
    headers = once(idempotency_key)
    if not validation:
        return Call("POST", "/v1/builds", json=order, headers=headers)
    files = _images("validation", [image for _, image in validation])
    form = {"request": json.dumps(order), "labels": [label for label, _ in validation]}
    return Call("POST", "/v1/builds", form=form, files=files, headers=headers)


def build(build_id: str, *, wait_s: float = 0.0) -> Call[Build]:
    """A build's record; with `wait_s`, when it has ended or the wait is over."""
    return Call("GET", f"/v1/builds/{build_id}", query=_wait(wait_s))


def events(build_id: str, *, after: int) -> Call[None]:
    """A build's events after one of them, as a stream."""
    headers = {"Last-Event-ID": str(after), "Accept": "text/event-stream"}
    return Call("GET", f"/v1/builds/{build_id}/events", headers=headers)


def cancel_build(build_id: str) -> Call[Build]:
    """Ask a build to stop."""
    return Call("POST", f"/v1/builds/{build_id}/cancel", repeatable=False)


def resume_build(build_id: str, *, idempotency_key: str | None = None) -> Call[Build]:
    """Another build, which goes on where this one stopped."""
    return Call("POST", f"/v1/builds/{build_id}/resume", headers=once(idempotency_key))


def learner(learner_id: str) -> Call[LearnerDetail]:
    """A meta-learner's record."""
    return Call("GET", f"/v1/meta-learners/{_word(learner_id)}")


def predict(
    learner_id: str,
    *,
    support: Sequence[tuple[str, bytes]],
    query: Sequence[bytes],
    teachers: int | None = None,
    coverage: float | None = None,
) -> Call[Predictions]:
    """Labelled support images and queries, encoded; no file name is sent."""
    path = f"/v1/meta-learners/{_word(learner_id)}/predictions"
    form = {**_labels(support), **_numbers(teachers=teachers, coverage=coverage)}
    files = _images("support", [image for _, image in support]) + _images("query", query)
    return Call("POST", path, form=form, files=files)


def adapt(
    learner_id: str, *, support: Sequence[tuple[str, bytes]], teachers: int | None = None
) -> Call[Adaptation]:
    """Labelled support images alone. Sent twice, it would take memory twice."""
    path = f"/v1/meta-learners/{_word(learner_id)}/adaptations"
    form = {**_labels(support), **_numbers(teachers=teachers)}
    files = _images("support", [image for _, image in support])
    return Call("POST", path, form=form, files=files, repeatable=False)


def ask(
    adaptation_id: str, *, query: Sequence[bytes], coverage: float | None = None
) -> Call[Predictions]:
    """Queries alone, for what was adapted before."""
    path = f"/v1/adaptations/{adaptation_id}/predictions"
    return Call("POST", path, form=_numbers(coverage=coverage), files=_images("query", query))


def end_adaptation(adaptation_id: str) -> Call[Adaptation]:
    """Forget one."""
    return Call("DELETE", f"/v1/adaptations/{adaptation_id}")


def export(learner_id: str, *, form: str) -> Call[bytes]:
    """A meta-learner as a file that needs no server."""
    query: dict[str, str | int | float] = {"format": form}
    return Call("GET", f"/v1/meta-learners/{_word(learner_id)}/export", query=query, is_file=True)


def export_adaptation(adaptation_id: str, *, form: str) -> Call[bytes]:
    """An adaptation as such a file."""
    query: dict[str, str | int | float] = {"format": form}
    return Call("GET", f"/v1/adaptations/{adaptation_id}/export", query=query, is_file=True)


def _word(name: str) -> str:
    """One part of a path, whatever the name holds."""
    return quote(name, safe="@")


def _labels(support: Sequence[tuple[str, bytes]]) -> Form:
    return {"labels": [label for label, _ in support]}


def _numbers(**given: float | None) -> Form:
    return {name: str(value) for name, value in given.items() if value is not None}


def _images(part: str, images: Sequence[bytes]) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [(part, ("image", image, IMAGE)) for image in images]


def any_call(method: str, path: str, **parts: Any) -> Call[Any]:
    """What this package has no function for: keys, members, audit."""
    headers = once(None) if method == "POST" else {}
    return Call(method, path, headers=headers, repeatable=method != "POST", **parts)


def _wait(wait_s: float) -> dict[str, str | int | float]:
    return {"wait_s": wait_s} if wait_s else {}
