"""The SDK against a live server and a worker that does the jobs, with and without asyncio."""

import asyncio
import io
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from images_of import SHADES, png
from live_pool import LivePool, live_pool

from modelpool import (
    AsyncClient,
    Client,
    ModelpoolError,
    NotAuthorised,
    NotLoggedIn,
    Patience,
    Refused,
    Unreachable,
    Watcher,
    WrongServer,
    calls,
)
from modelpool.records import Manifest, Upload
from tests.factories import QUICK_MULTI_TEACHER, small_checkpoint, small_manifest
from tests.s3_server import s3_settings

pytestmark = pytest.mark.xdist_group("client-sdk")  # they share a server
AT_ONCE = Patience(first_s=0.0)
SUPPORT = [(name, png(shade)) for name, shades in SHADES.items() for shade in shades[:2]]
QUERY = [png(20), png(240)]


def manifest(name: str, **changes: Any) -> Manifest:
    made: Manifest = small_manifest(name, **changes)  # type: ignore[assignment]
    return made


@pytest.fixture
def checkpoint(tmp_path: Path) -> Any:
    """Write a checkpoint; another for each seed."""

    def write(seed: int, *, padding: int = 0) -> Path:
        path = tmp_path / f"{seed}.safetensors"
        path.write_bytes(small_checkpoint(seed) + b"\0" * padding)
        return path

    return write


def test_the_whole_journey_from_a_push_to_a_prediction(client: Client, checkpoint: Any) -> None:
    models = [client.push(checkpoint(seed), manifest(f"m{seed}")) for seed in range(2)]
    assert [model["status"] for model in models] == ["ready", "ready"]
    assert {model["id"] for model in client.models(status="ready")} >= {m["id"] for m in models}

    order = client.start_build(algorithm="multi_teacher", config=QUICK_MULTI_TEACHER, seed=1)
    events = list(client.follow_build(order["id"]))
    build = client.wait_for_build(order["id"])
    assert build["status"] == "succeeded", build
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[-1].data["status"] == "succeeded"
    metrics = [event.data["metrics"] for event in events if event.kind == "progress"]
    assert any("distillation_loss" in each for each in metrics)

    assert build["meta_learner_id"] is not None
    learner = client.learner(build["meta_learner_id"])
    assert sorted(learner["model_ids"]) == sorted(model["id"] for model in models)
    answer = client.predict(learner["id"], support=SUPPORT, query=QUERY)
    assert [each["label"] for each in answer["predictions"]] == ["dark", "bright"]

    alias = client.set_alias("default", "journey", learner["id"], note="first", expected=None)
    by_name = client.predict(alias["address"], support=SUPPORT, query=QUERY)
    assert by_name["meta_learner_id"] == learner["id"]
    assert client.learner(alias["address"])["aliases"] == ["journey"]
    with pytest.raises(Refused, match="points at") as refused:
        client.set_alias("default", "journey", learner["id"], expected="ml_other")
    assert refused.value.code == "alias-moved"
    client.remove_alias("default", "journey")
    told = client.alias("default", "journey")
    assert [move["meta_learner_id"] for move in told["moves"]] == [None, learner["id"]]
    assert client.aliases() == []

    adaptation = client.adapt(learner["id"], support=SUPPORT)
    assert adaptation["outlook"] == answer["outlook"]
    asked = client.ask(adaptation["id"], query=QUERY, coverage=0.5)
    assert [each["label"] for each in asked["predictions"]] == ["dark", "bright"]
    assert asked["abstention"] is not None
    client.end_adaptation(adaptation["id"])
    with pytest.raises(Refused, match="adaptation"):
        client.ask(adaptation["id"], query=QUERY)


def test_the_async_client_makes_the_same_journey(pool: LivePool, checkpoint: Any) -> None:
    async def journey() -> tuple[list[str], list[str]]:
        async with AsyncClient(pool.url, pool.key) as client:
            pushed = await asyncio.gather(
                *(client.push(checkpoint(seed), manifest(f"m{seed}")) for seed in (10, 11))
            )
            order = await client.start_build(config=QUICK_MULTI_TEACHER)
            kinds = [event.kind async for event in client.follow_build(order["id"])]
            build = await client.wait_for_build(order["id"])
            assert kinds[-1] == "status"
            assert build["id"] in [each["id"] async for each in client.builds()]
            learner_id = build["meta_learner_id"] or ""
            alias = await client.set_alias("default", "async", learner_id)
            answer = await client.predict(alias["address"], support=SUPPORT, query=QUERY)
            assert [each["name"] for each in await client.aliases()] == ["async"]
            await client.remove_alias("default", "async")
            assert (await client.alias("default", "async"))["n_moves"] == 2
            labels = [each["label"] for each in answer["predictions"]]
            return [model["status"] for model in pushed], labels

    assert asyncio.run(journey()) == (["ready", "ready"], ["dark", "bright"])


def test_a_rejected_checkpoint_comes_back_with_its_reason_and_what_to_do(
    client: Client, checkpoint: Any
) -> None:
    model = client.push(checkpoint(20), manifest("wrong head", n_classes=5))
    assert (model["status"], model["reason_code"]) == ("rejected", "checkpoint-mismatch")
    assert model["recipe"]


def test_a_list_of_many_pages_is_walked_to_its_end(
    client: Client, two_models: list[str], checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.push(checkpoint(21), manifest("a third"))
    whole = [model["id"] for model in client.models()]
    monkeypatch.setattr(calls, "PAGE", 1)
    assert [model["id"] for model in client.models()] == whole
    assert len(whole) > 2


def test_refusals_carry_the_servers_code_and_words(client: Client, pool: LivePool) -> None:
    with pytest.raises(Refused) as refused:
        client.build("bld_none")
    assert (refused.value.status, refused.value.code) == (404, "build-not-found")
    assert refused.value.request_id
    wrong_key = Client(pool.url, "mp_not-a-key-of-this-server")
    with wrong_key, pytest.raises(NotAuthorised, match="key"):
        wrong_key.usage()
    with pytest.raises(Refused) as invalid:
        client.create_pool("/")
    assert [fault["part"] for fault in invalid.value.faults] == ["body/name"]


def test_a_server_that_is_not_there_is_unreachable_after_the_tries_agreed() -> None:
    pauses: list[str] = []
    client = Client(
        "http://127.0.0.1:9",
        "mp_x",
        patience=Patience(tries=3, first_s=0.0),
        on_pause=lambda pause: pauses.append(pause.why),
    )
    with pytest.raises(Unreachable, match="cannot be reached"):
        client.usage()
    assert len(pauses) == 2


class Broken(httpx.BaseTransport):
    """The way to a real server, broken where a test says so."""

    def __init__(self, url: str) -> None:
        self._way = httpx.HTTPTransport()
        self.url = url
        self.lost: list[str] = []
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self._way.handle_request(request)
        name = f"{request.method} {request.url.path}"
        if any(name.startswith(start) for start in self.lost):
            self.lost = [start for start in self.lost if not name.startswith(start)]
            response.read()
            raise httpx.ReadError("the answer was lost", request=request)
        return response

    def close(self) -> None:
        self._way.close()


def test_a_creating_request_whose_answer_is_lost_creates_once(pool: LivePool) -> None:
    way = Broken(pool.url)
    way.lost = ["POST /v1/pools"]
    with Client(pool.url, pool.key, patience=AT_ONCE, transport=way) as client:
        made = client.create_pool("once only")
        assert [each["name"] for each in client.pools()].count("once only") == 1
    first, second = (request for request in way.requests if request.method == "POST")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert made["roles"] == ["owner"]


def test_an_interrupted_push_sends_only_what_is_missing(pool: LivePool, tmp_path: Path) -> None:
    """Two parts; the first push ends after the first of them, as by Ctrl-C."""
    path = tmp_path / "large.pt"
    state = {"padding": torch.zeros(6 * 1024 * 1024 // 4)}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.write_bytes(buffer.getvalue())
    begun: list[Upload] = []
    sent: list[int] = []

    def interrupt(size: int) -> None:
        sent.append(size)
        if size > 5 * 1024 * 1024 + 1:
            raise KeyboardInterrupt

    way = Broken(pool.url)
    with Client(pool.url, pool.key, transport=way) as client:
        with pytest.raises(KeyboardInterrupt):
            client.push(
                path,
                manifest("large"),
                part_size=5 * 1024 * 1024,
                watcher=Watcher(on_begun=begun.append, on_sent=interrupt),
            )
        assert client.upload(begun[0]["id"])["n_missing"] == 1
        way.requests.clear()
        model = client.push(path, manifest("large"), upload_id=begun[0]["id"])
    parts = [request.url.path for request in way.requests if request.method == "PUT"]
    assert parts == [f"/v1/uploads/{begun[0]['id']}/parts/2"]
    assert not [r for r in way.requests if r.method == "POST" and r.url.path == "/v1/uploads"]
    assert model["status"] == "rejected"  # it is no conv4: but it arrived whole
    assert model["size_bytes"] == path.stat().st_size


class Cut(httpx.SyncByteStream):
    """A stream that breaks after its first chunk."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield next(iter(self._stream))
        raise httpx.ReadError("the link broke")

    def close(self) -> None:
        self._stream.close()


class CutsStreams(Broken):
    """A way on which no event stream outlives its first chunk."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.url.path.endswith("/events"):
            assert isinstance(response.stream, httpx.SyncByteStream)
            response.stream = Cut(response.stream)
        return response


def test_a_build_is_followed_over_streams_that_break_again_and_again(
    pool: LivePool, two_models: list[str]
) -> None:
    way = CutsStreams(pool.url)
    with Client(pool.url, pool.key, patience=AT_ONCE, transport=way) as client:
        order = client.start_build(config=QUICK_MULTI_TEACHER, models=two_models)
        seen = [event.seq for event in client.follow_build(order["id"])]
    after = [
        int(each.headers["Last-Event-ID"])
        for each in way.requests
        if each.url.path.endswith("/events")
    ]
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) > 3
    assert after == sorted(after)
    assert len(set(after)) > 3


def test_parts_that_go_to_an_object_store_carry_no_key(
    s3_endpoint: str, tmp_path: Path, checkpoint: Any
) -> None:
    bucket = s3_settings(s3_endpoint, bucket=f"bucket-{secrets.token_hex(6)}")
    names = ("storage_url", "s3_endpoint", "s3_access_key", "s3_secret_key", "s3_secure")
    with live_pool(tmp_path / "var", **{name: getattr(bucket, name) for name in names}) as pool:
        way = Broken(pool.url)
        with Client(pool.url, pool.key, transport=way) as client:
            model = client.push(checkpoint(31), manifest("in a bucket"))
    assert model["status"] == "ready"
    (part,) = (request for request in way.requests if request.method == "PUT")
    assert f"{part.url.host}:{part.url.port}" == s3_endpoint
    assert "Authorization" not in part.headers
    assert all("Authorization" in each.headers for each in way.requests if each.method == "POST")


def test_a_file_that_shrinks_while_it_is_sent_is_noticed(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "shrinks.safetensors"
    path.write_bytes(small_checkpoint(30))
    watcher = Watcher(on_begun=lambda _: path.write_bytes(b"less"))
    with pytest.raises(ModelpoolError, match="changed"):
        client.push(path, manifest("shrinks"), watcher=watcher)


def test_address_and_key_go_together() -> None:
    with pytest.raises(NotLoggedIn, match="both"):
        Client("http://127.0.0.1:9")
    with pytest.raises(NotLoggedIn, match="modelpool login"):
        Client()


@pytest.mark.parametrize(
    ("answer", "says"), [({"hello": 1}, "no Modelpool"), ({"api": "v2"}, "API v2")]
)
def test_another_server_or_api_is_told_apart(answer: dict[str, str], says: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    with pytest.raises(WrongServer, match=says):
        Client("http://127.0.0.1:9", "mp_x", transport=transport).check_version()
