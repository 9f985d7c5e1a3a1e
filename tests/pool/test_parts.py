"""One contract for parts in both stores: a directory, and a real S3 server (rclone's)."""

import hashlib
import io
import os
import secrets
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3

from pool.domain import utc_now
from pool.errors import InvalidInput, ObjectMissing, StorageFull
from pool.settings import MIB, Settings
from pool.storage.directory import INCOMING, PARTS
from pool.storage.parts import (
    MIN_PART_BYTES,
    MOST_PARTS,
    Part,
    PartPlan,
    PartStore,
    open_parts,
    plan_parts,
)
from pool.storage.s3_parts import S3Parts
from pool.storage.store import ObjectStore, open_store
from tests.s3_server import ACCESS_KEY, SECRET_KEY, s3_settings

KEY = "quarantine/mdl_1"
http = urllib3.PoolManager()


@pytest.fixture(params=["directory", "s3"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings with an empty store of each kind."""
    if request.param == "directory":
        return Settings(var=tmp_path / "var")
    endpoint = request.getfixturevalue("s3_endpoint")
    return s3_settings(endpoint, bucket=f"bucket-{secrets.token_hex(6)}")


@pytest.fixture
def store(deployment: Settings) -> ObjectStore:
    """Where the objects come to be."""
    return open_store(deployment)


@pytest.fixture
def parts(deployment: Settings) -> PartStore:
    """As the server opens it."""
    return open_parts(deployment)


def send(parts: PartStore, token: str, number: int, data: bytes) -> None:
    """Send a part as a client does: to its URL, or through the API's writer."""
    if parts.presigns:
        url = parts.url(KEY, token, number, size=len(data), expires_s=60)
        answer = http.request("PUT", url, body=data)
        assert answer.status == 200, answer.data
        return
    writer = parts.writer(token, number)
    writer.write(data[:100])
    writer.write(data[100:])
    writer.commit()
    writer.close()


def stored(store: ObjectStore) -> bytes:
    return b"".join(store.blocks(KEY))


def test_parts_sent_in_any_order_and_twice_become_the_object_in_order(
    parts: PartStore, store: ObjectStore
) -> None:
    data = [secrets.token_bytes(MIN_PART_BYTES), secrets.token_bytes(MIN_PART_BYTES), b"the rest"]
    token = parts.begin(KEY)
    assert parts.received(KEY, token) == []
    send(parts, token, 3, b"wrong at first")
    send(parts, token, 2, data[1])
    send(parts, token, 3, data[2])
    send(parts, token, 1, data[0])  # last: rclone's server replaces no part that it can append

    received = parts.received(KEY, token)
    digest = hashlib.md5 if parts.presigns else hashlib.sha256
    assert [(part.number, part.size_bytes, part.etag) for part in received] == [
        (number, len(each), digest(each).hexdigest()) for number, each in enumerate(data, 1)
    ]
    assert (list(store.keys("")), store.size(KEY)) == ([], None)

    parts.assemble(KEY, token, received)
    assert stored(store) == b"".join(data)
    assert store.size(KEY) == 2 * MIN_PART_BYTES + 8


def test_what_was_begun_is_found_until_it_is_an_object_or_discarded(
    parts: PartStore, store: ObjectStore
) -> None:
    begun = utc_now() - timedelta(seconds=5)  # the clock of the file system is coarser
    joined, given_up = parts.begin(KEY), parts.begin("quarantine/mdl_2")
    send(parts, joined, 1, b"part")
    if not parts.presigns:
        send(parts, given_up, 1, b"part")
    found = {each.token: each for each in parts.unfinished()}
    assert set(found) == {joined, given_up}
    assert all(begun <= each.begun_at <= utc_now() for each in found.values())

    parts.assemble(KEY, joined, parts.received(KEY, joined))
    parts.discard(KEY, joined)
    for _ in range(2):  # the second time it is gone already
        parts.discard("quarantine/mdl_2", given_up)
    assert list(parts.unfinished()) == []
    assert parts.received("quarantine/mdl_2", given_up) == []
    assert stored(store) == b"part"


def test_joining_parts_that_are_gone_is_an_object_missing(
    parts: PartStore, store: ObjectStore
) -> None:
    token = parts.begin(KEY)
    send(parts, token, 1, b"part")
    received = parts.received(KEY, token)
    parts.discard(KEY, token)
    with pytest.raises(ObjectMissing):
        parts.assemble(KEY, token, received)
    with pytest.raises(ObjectMissing):
        list(store.blocks(KEY))
    assert list(store.keys("")) == []


# The directory.


@pytest.fixture
def files(tmp_path: Path) -> PartStore:
    """Parts as files."""
    return open_parts(Settings(var=tmp_path / "var"))


def left(tmp_path: Path) -> list[str]:
    objects = tmp_path / "var" / "objects"
    return sorted(
        path.relative_to(objects).as_posix() for path in objects.rglob("*") if path.is_file()
    )


def test_a_part_that_is_not_committed_leaves_nothing_and_keeps_the_one_before(
    files: PartStore, tmp_path: Path
) -> None:
    token = files.begin(KEY)
    send(files, token, 1, b"before")
    writer = files.writer(token, 1)
    writer.write(b"half of anoth")
    assert [part.size_bytes for part in files.received(KEY, token)] == [6]
    writer.close()
    assert left(tmp_path) == [f"{PARTS}/{token}/00001"]


def test_a_full_disk_is_told_as_such_while_a_part_is_written(
    files: PartStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = files.begin(KEY)
    writer = files.writer(token, 1)

    def full(_: int) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        writer.commit()
    writer.close()
    assert files.received(KEY, token) == []


@pytest.mark.parametrize("token", ["..", "../..", "a/../..", "/etc", ""])
def test_a_token_cannot_leave_the_directory(files: PartStore, token: str) -> None:
    with pytest.raises(ValueError, match="not an object key"):
        files.discard(KEY, token)


# S3.


@pytest.fixture
def s3(s3_endpoint: str) -> tuple[S3Parts, str]:
    """Parts in a bucket, and an upload that has begun."""
    found = open_parts(s3_settings(s3_endpoint, bucket=f"bucket-{secrets.token_hex(6)}"))
    assert isinstance(found, S3Parts)
    return found, found.begin(KEY)


@pytest.mark.parametrize("length", [9, 11])
def test_a_presigned_url_takes_no_body_of_another_length(
    s3: tuple[S3Parts, str], length: int
) -> None:
    parts, token = s3
    url = parts.url(KEY, token, 1, size=10, expires_s=60)
    assert http.request("PUT", url, body=b"x" * length).status == 403
    assert parts.received(KEY, token) == []
    assert http.request("PUT", url, body=b"x" * 10).status == 200


def test_a_presigned_url_is_for_its_part_alone_and_tells_no_secret(
    s3: tuple[S3Parts, str],
) -> None:
    parts, token = s3
    url = parts.url(KEY, token, 1, size=10, expires_s=60)
    assert SECRET_KEY not in url
    for changed in (
        url.replace("partNumber=1", "partNumber=2"),
        url.replace("mdl_1", "mdl_2"),
        url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"),
    ):
        assert changed != url
        assert http.request("PUT", changed, body=b"x" * 10).status == 403
    assert parts.received(KEY, token) == []


def test_presigned_urls_name_the_public_endpoint_and_the_server_keeps_to_its_own(
    s3_endpoint: str,
) -> None:
    """The signature covers the host, so another name of the same server is another URL."""
    port = s3_endpoint.rpartition(":")[2]
    settings = s3_settings(s3_endpoint, s3_public_endpoint=f"http://localhost:{port}")
    parts = open_parts(settings)
    token = parts.begin(KEY)
    url = parts.url(KEY, token, 1, size=4, expires_s=60)
    assert url.startswith(f"http://localhost:{port}/bucket/{KEY}?")
    assert ACCESS_KEY in url
    assert http.request("PUT", url, body=b"part").status == 200
    assert [part.number for part in parts.received(KEY, token)] == [1]
    parts.discard(KEY, token)


def test_the_public_endpoint_is_never_asked_by_the_server(s3_endpoint: str) -> None:
    settings = s3_settings(s3_endpoint, s3_public_endpoint="https://store.invalid")
    parts = open_parts(settings)
    token = parts.begin(KEY)
    url = parts.url(KEY, token, 1, size=4, expires_s=60)
    assert url.startswith("https://store.invalid/bucket/")
    parts.discard(KEY, token)


# Plans.


@pytest.mark.parametrize(
    ("size", "wished", "part_bytes", "n_parts", "last"),
    [
        (1, None, 16 * MIB, 1, 1),
        (16 * MIB, None, 16 * MIB, 1, 16 * MIB),
        (16 * MIB + 1, None, 16 * MIB, 2, 1),
        (8192 * MIB, None, 16 * MIB, 512, 16 * MIB),
        (20_000 * MIB + 1, None, 21 * MIB, 953, 8 * MIB + 1),
        (12 * MIB, 5 * MIB, 5 * MIB, 3, 2 * MIB),
        (MOST_PARTS * 5 * MIB, 5 * MIB, 5 * MIB, MOST_PARTS, 5 * MIB),
    ],
)
def test_parts_cover_the_file_without_gap_or_overlap(
    size: int, wished: int | None, part_bytes: int, n_parts: int, last: int
) -> None:
    plan = plan_parts(size, wished)
    assert plan == PartPlan(size_bytes=size, part_bytes=part_bytes)
    assert (plan.n_parts, plan.length(plan.n_parts)) == (n_parts, last)
    ends = [plan.offset(number) + plan.length(number) for number in range(1, n_parts + 1)]
    assert [0, *ends[:-1]] == [plan.offset(number) for number in range(1, n_parts + 1)]
    assert ends[-1] == size


def test_more_parts_than_s3_takes_are_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidInput, match="larger part_size"):
        plan_parts(MOST_PARTS * 5 * MIB + 1, 5 * MIB)


def test_an_object_store_does_not_list_what_is_no_object_yet(
    files: PartStore, tmp_path: Path
) -> None:
    token = files.begin(KEY)
    send(files, token, 1, b"part")
    store = open_store(Settings(var=tmp_path / "var"))
    assert list(store.keys("")) == []
    assert not any(name.startswith(INCOMING) for name in left(tmp_path))
    assert files.received(KEY, token) == [
        Part(number=1, size_bytes=4, etag=hashlib.sha256(b"part").hexdigest())
    ]


def test_in_a_store_that_never_had_parts_nothing_is_unfinished(
    parts: PartStore, store: ObjectStore
) -> None:
    """Some S3 servers answer 404 then."""
    store.put(KEY, io.BytesIO(b"an object"), 9)
    assert list(parts.unfinished()) == []
