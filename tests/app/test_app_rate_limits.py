"""Who asks too often gets 429 before the body is read, and hears when to come back."""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from live import serving
from redis import Redis
from redis.exceptions import RedisError
from starlette.testclient import TestClient

from app.buckets import PERIOD_S, Draw, LocalBuckets, RedisBuckets
from app.main import create_app
from pool.settings import Settings
from pool.usecases.bootstrap import bootstrap
from tests.factories import ADMIN

REDIS = "redis://127.0.0.1:6379/0"


@pytest.fixture
def redis_url() -> str:
    """The local Redis."""
    client = Redis.from_url(REDIS)
    try:
        client.ping()
    except RedisError:
        pytest.skip("no Redis here")
    finally:
        client.close()
    return REDIS


def limited(settings: Settings, **rates: Any) -> TestClient:
    """An admin of a deployment with such rates."""
    app = create_app(settings.model_copy(update=rates))
    return TestClient(app, headers={"Authorization": f"Bearer {ADMIN}"})


def anonymous(client: TestClient, key: str | None = None, /, **parts: Any) -> TestClient:
    """Somebody else of the same deployment, perhaps from another address."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return TestClient(client.app, headers=headers, **parts)


# Buckets.


def draw(subject: str, per_minute: int = 60, *, taken: bool = True, rate: str = "requests") -> Draw:
    return Draw(rate=rate, per_minute=per_minute, subject=subject, taken=taken)


def model(per_minute: int, arrivals: Sequence[float]) -> list[bool]:
    """A bucket as a textbook has it: a level that fills up again with time."""
    level, last, granted = float(per_minute), 0.0, []
    for moment in arrivals:
        level = min(per_minute, level + (moment - last) * per_minute / PERIOD_S)
        last = moment
        granted.append(level >= 1)
        level -= level >= 1
    return granted


@trials(max_examples=200, deadline=None)
@given(
    per_minute=st.integers(1, 20),
    gaps=st.lists(st.integers(0, 400).map(lambda tenths: tenths / 10 + 0.0101), max_size=60),
)
def test_a_bucket_grants_what_a_filling_level_grants(per_minute: int, gaps: list[float]) -> None:
    buckets, now, arrivals, granted = LocalBuckets(), 0.0, [], []
    for gap in gaps:
        now += gap
        arrivals.append(now)
        (standing,) = buckets._draw([draw("a", per_minute)], now)
        granted.append(standing.retry_in_s == 0)
    assert granted == model(per_minute, arrivals)


@trials(max_examples=50, deadline=None)
@given(per_minute=st.integers(1, 20), n=st.integers(0, 40))
def test_who_waits_as_long_as_told_is_granted_and_not_sooner(per_minute: int, n: int) -> None:
    buckets = LocalBuckets()
    for _ in range(per_minute + n):
        (standing,) = buckets._draw([draw("a", per_minute)], 100.0)
    (standing,) = buckets._draw([draw("a", per_minute)], 100.0)
    assert standing.retry_in_s > 0
    early = buckets._draw([draw("a", per_minute)], 100.0 + standing.retry_in_s * 0.99)
    assert early[0].retry_in_s > 0
    later = buckets._draw([draw("a", per_minute)], 100.0 + standing.retry_in_s + 1e-6)
    assert later[0].retry_in_s == 0


def outcome(buckets: Any, subject: str) -> list[Any]:
    """Three tokens of one bucket and two of another, drawn together and looked at."""

    async def go() -> list[Any]:
        found = []
        for taken in (False, True, True, True, True):
            both = [
                draw(subject, 3, taken=taken),
                draw(subject, 2, taken=taken, rate="predictions"),
            ]
            standings = await buckets.draw(both)
            found.append([(each.remaining, each.retry_in_s > 0) for each in standings])
        await buckets.close()
        return found

    return asyncio.run(go())


WANTED = [
    [(3, False), (2, False)],
    [(2, False), (1, False)],
    [(1, False), (0, False)],
    [(1, False), (0, True)],  # none of both is taken when one is missing
    [(1, False), (0, True)],
]


def test_buckets_here_take_all_or_nothing() -> None:
    assert outcome(LocalBuckets(), "a") == WANTED


def test_buckets_in_redis_do_the_same(redis_url: str) -> None:
    assert outcome(RedisBuckets(redis_url), secrets.token_hex(8)) == WANTED


def test_two_replicas_share_a_bucket_in_redis(redis_url: str) -> None:
    subject = secrets.token_hex(8)

    async def go() -> list[bool]:
        replicas = [RedisBuckets(redis_url), RedisBuckets(redis_url)]
        granted = []
        for turn in range(6):
            (standing,) = await replicas[turn % 2].draw([draw(subject, 4)])
            granted.append(standing.retry_in_s == 0)
        for each in replicas:
            await each.close()
        return granted

    assert asyncio.run(go()) == [True] * 4 + [False] * 2


def test_a_bucket_leaves_redis_when_it_is_full_again(redis_url: str) -> None:
    subject = secrets.token_hex(8)

    async def go() -> None:
        buckets = RedisBuckets(redis_url)
        await buckets.draw([draw(subject, 60)])
        await buckets.close()

    asyncio.run(go())
    client = Redis.from_url(redis_url)
    left_ms = client.pttl(f"modelpool:rate:requests:{subject}")
    client.close()
    assert 0 < int(left_ms) <= 1000


def test_while_redis_is_away_requests_are_counted_here() -> None:
    assert outcome(RedisBuckets("redis://127.0.0.1:1/0"), "a") == WANTED


def test_full_buckets_are_forgotten() -> None:
    buckets = LocalBuckets()
    for number in range(10_000):
        buckets._draw([draw(str(number), 6000)], now=0.0)
    for number in range(10_000):
        buckets._draw([draw(f"later {number}", 6000)], now=100.0)
    assert len(buckets._full_at) <= 10_000


# Over HTTP.


def test_the_requests_of_a_key_are_limited_and_the_answer_says_until_when(
    settings: Settings,
) -> None:
    client = limited(settings, requests_per_minute=3)
    answers = [client.get("/v1/pools") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"requests";q=3;w=60'
    assert answers[0].headers["ratelimit"] == '"requests";r=2;t=20'
    refused = answers[3]
    assert refused.json()["code"] == "rate-limited"
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["ratelimit"].startswith('"requests";r=0')


def test_each_key_has_a_bucket_of_its_own(settings: Settings) -> None:
    client = limited(settings, requests_per_minute=2)
    made = client.post("/v1/keys", json={"name": "k", "scopes": ["models:read"]}).json()["key"]
    client.get("/v1/pools")
    assert client.get("/v1/pools").status_code == 429
    assert anonymous(client, made).get("/v1/pools").status_code == 200


def test_predictions_have_a_rate_of_their_own(settings: Settings) -> None:
    client = limited(settings, predictions_per_minute=2)
    answers = [client.post("/v1/meta-learners/x/predictions") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [422, 422, 429]
    assert '"predictions";q=2' in answers[2].headers["ratelimit-policy"]
    assert client.get("/v1/pools").status_code == 200


def test_who_is_refused_is_refused_before_the_body_is_read(settings: Settings) -> None:
    client = limited(settings, requests_per_minute=1)
    client.get("/v1/pools")
    received = 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/models",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {ADMIN}".encode())],
        "client": ("192.0.2.1", 1),
    }
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert (sent[0]["status"], received) == (429, 0)


def test_without_a_key_an_address_is_limited(settings: Settings) -> None:
    client = limited(settings, anonymous_per_minute=2)
    here, there = anonymous(client), anonymous(client, client=("192.0.2.7", 1))
    assert [here.get("/v1/problems").status_code for _ in range(3)] == [200, 200, 429]
    assert there.get("/v1/problems").status_code == 200
    assert client.get("/v1/pools").status_code == 200


def test_an_ipv6_network_is_one_address(settings: Settings) -> None:
    client = limited(settings, anonymous_per_minute=1)
    statuses = [
        anonymous(client, client=(address, 1)).get("/v1/problems").status_code
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
    ]
    assert statuses == [200, 429, 200]


def test_probes_are_never_refused(settings: Settings) -> None:
    client = anonymous(limited(settings, anonymous_per_minute=1))
    assert [client.get("/healthz/live").status_code for _ in range(3)] == [200] * 3


def test_zero_means_no_limit(settings: Settings) -> None:
    client = limited(settings, requests_per_minute=0, anonymous_per_minute=0)
    answer = client.get("/v1/pools")
    assert answer.status_code == 200
    assert "ratelimit" not in answer.headers


# Guessing keys.


def test_guessing_keys_is_refused_before_one_is_looked_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = limited(settings, failed_keys_per_minute=3)
    guesses = [f"mp_{number:030}" for number in range(4)]
    tried = [anonymous(client, guess).get("/v1/pools").status_code for guess in guesses]
    assert tried == [401, 401, 401, 429]
    elsewhere = anonymous(client, guesses[0], client=("192.0.2.7", 1))
    assert elsewhere.get("/v1/pools").status_code == 401
    looked_up: list[object] = []
    monkeypatch.setattr("app.deps.authenticate", lambda *found: looked_up.append(found))
    right = anonymous(client, ADMIN).get("/v1/pools")
    assert (right.status_code, looked_up) == (429, [])  # even the right one is not confirmed


def test_a_route_without_keys_does_not_make_a_guess_a_known_key(settings: Settings) -> None:
    client = limited(settings, failed_keys_per_minute=1)
    guesses = [anonymous(client, f"mp_{number:030}") for number in range(3)]
    for guess in guesses:
        assert [guess.get(path).status_code for path in ("/version", "/docs")] == [200, 200]
    assert [guess.get("/v1/pools").status_code for guess in guesses] == [401, 429, 429]


def test_a_revoked_key_does_not_lock_out_the_other_clients_of_its_site(settings: Settings) -> None:
    client = limited(settings, failed_keys_per_minute=2)
    made = client.post("/v1/keys", json={"name": "k", "scopes": ["models:read"]}).json()
    old = anonymous(client, made["key"])
    assert old.get("/v1/models").status_code == 200
    client.delete(f"/v1/keys/{made['id']}")
    assert [old.get("/v1/models").status_code for _ in range(3)] == [401, 401, 429]
    assert client.get("/v1/pools").status_code == 200


# Proxies.


@pytest.mark.parametrize(("trusted", "statuses"), [("", [200, 429]), ("192.0.2.0/24", [200, 200])])
def test_only_a_trusted_proxy_says_who_the_client_is(
    settings: Settings, trusted: str, statuses: list[int]
) -> None:
    admin = limited(settings, anonymous_per_minute=1, trusted_proxies=trusted)
    proxy = anonymous(admin, client=("192.0.2.9", 1))
    answers = [
        proxy.get("/v1/problems", headers={"X-Forwarded-For": address}).status_code
        for address in ("198.51.100.1", "198.51.100.2")
    ]
    assert answers == statuses


def test_a_real_server_counts_in_redis_by_key(settings: Settings, redis_url: str) -> None:
    key = f"mp_{secrets.token_hex(16)}"
    changed = {"rate_limit_url": redis_url, "requests_per_minute": 3}
    app = create_app(settings.model_copy(update=changed))
    bootstrap(app.state.database, key)
    with serving(app) as url, httpx.Client(base_url=url) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        answers = [client.get("/v1/pools").status_code for _ in range(5)]
    assert answers == [200, 200, 200, 429, 429]
