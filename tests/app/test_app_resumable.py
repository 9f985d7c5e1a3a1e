"""/v1/uploads: one protocol for both stores, walked, interrupted, repeated, refused."""

import hashlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from app.main import create_app
from pool.database.session import Database
from pool.database.tables import Base, JobRow, ModelRow
from pool.database.upload_tables import UploadRow
from pool.domain import JobKind, Scope, UploadStatus, utc_now
from pool.settings import MIB, Settings
from pool.storage.parts import MIN_PART_BYTES
from pool.storage.store import quarantine_key
from pool.usecases.keys import create_key
from tests.factories import claim_next
from tests.s3_server import s3_settings
from worker.context import JobContext
from worker.jobs.assemble import assemble_upload

BASE = "http://testserver"
DATA = secrets.token_bytes(2 * MIN_PART_BYTES + 1234)


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """The embedded deployment, or the same with its objects in a bucket (mark `s3`)."""
    if request.node.callspec.params.get("where") != "s3":
        return settings
    endpoint = request.getfixturevalue("s3_endpoint")
    bucket = f"bucket-{secrets.token_hex(6)}"
    return s3_settings(endpoint, bucket=bucket, var=settings.var, threads=1)


class Uploads:
    """A client of the protocol, and the worker behind the server."""

    def __init__(self, client: TestClient, app: FastAPI, manifest: dict[str, Any]) -> None:
        self.client, self.app, self.manifest = client, app, manifest

    def begin(self, size: int = len(DATA), **fields: Any) -> Any:
        body = {"manifest": self.manifest, "size_bytes": size, "part_size": MIN_PART_BYTES}
        body |= {name: value for name, value in fields.items() if value is not None}
        return self.client.post("/v1/uploads", json=body)

    def look(self, upload_id: str, **query: Any) -> Any:
        return self.client.get(f"/v1/uploads/{upload_id}", params=query).json()

    def send(self, part: dict[str, Any], data: bytes, *, send_key: bool) -> Any:
        """One part to its URL, wherever that is."""
        url = urljoin(f"{BASE}/v1/uploads/x", part["url"])
        body = data[part["offset"] : part["offset"] + part["size_bytes"]]
        if send_key:
            return self.client.put(url, content=body)
        return httpx.put(url, content=body)

    def send_missing(self, upload_id: str, data: bytes = DATA, *, most: int = 100) -> list[int]:
        """What every client does, interrupted or not; the parts it sent."""
        seen = self.look(upload_id)
        for part in seen["next_parts"][:most]:
            answer = self.send(part, data, send_key=seen["send_key"])
            assert answer.status_code == 200, answer.text
        return [part["number"] for part in seen["next_parts"][:most]]

    def complete(self, upload_id: str) -> Any:
        return self.client.post(f"/v1/uploads/{upload_id}/complete")

    def work(self) -> None:
        """Do the job that waits."""
        state = self.app.state
        context = JobContext(settings=state.settings, database=state.database, store=state.store)
        assemble_upload(context, claim_next(state.database, JobKind.ASSEMBLE))

    def whole(self, data: bytes = DATA, **fields: Any) -> str:
        """An upload with all its parts; its id."""
        upload_id: str = self.begin(len(data), **fields).json()["id"]
        self.send_missing(upload_id, data)
        return upload_id

    def left(self) -> tuple[list[str], int]:
        """What the store holds: objects, and uploads that have parts."""
        state = self.app.state
        return sorted(state.store.keys("")), len(list(state.parts.unfinished()))


@pytest.fixture
def uploads(client: TestClient, app: FastAPI, manifest: dict[str, Any]) -> Uploads:
    """Somebody whose key may do everything."""
    return Uploads(client, app, manifest)


def count(database: Database, table: type[Base]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


WHERE = pytest.mark.parametrize("where", ["directory", "s3"])
EMBEDDED = pytest.mark.parametrize("where", ["directory"])


@WHERE
def test_parts_become_a_model_that_waits_for_its_inspection(
    uploads: Uploads, database: Database, where: str
) -> None:
    sha256 = hashlib.sha256(DATA).hexdigest()
    begun = uploads.begin(sha256=sha256.upper())
    assert begun.status_code == 201
    record = begun.json()
    assert (record["status"], record["parts"], record["model_id"]) == ("open", 3, None)
    assert (record["size_bytes"], record["part_size"]) == (len(DATA), MIN_PART_BYTES)
    assert record["send_key"] == (where == "directory")
    assert record["sha256"] == sha256

    assert uploads.send_missing(record["id"]) == [1, 2, 3]
    seen = uploads.look(record["id"])
    assert [part["size_bytes"] for part in seen["received"]] == [MIN_PART_BYTES] * 2 + [1234]
    assert (seen["n_missing"], seen["next_parts"]) == (0, [])

    answer = uploads.complete(record["id"])
    assert (answer.status_code, answer.json()["status"]) == (202, "assembling")
    assert count(database, ModelRow) == 0
    uploads.work()

    seen = uploads.look(record["id"], wait_s=1)
    assert (seen["status"], seen["reason"], seen["received"]) == ("completed", None, [])
    model = uploads.client.get(f"/v1/models/{seen['model_id']}").json()
    assert (model["status"], model["sha256"]) == ("received", sha256)
    assert (model["size_bytes"], model["name"]) == (len(DATA), "ward 3")
    key = quarantine_key(model["id"])
    assert b"".join(uploads.app.state.store.blocks(key)) == DATA
    assert uploads.left() == ([key], 0)
    assert claim_next(database, JobKind.INSPECT).subject_id == model["id"]


@WHERE
def test_an_interrupted_client_goes_on_where_it_was_even_with_another_server(
    uploads: Uploads, settings: Settings, where: str
) -> None:
    upload_id = uploads.begin().json()["id"]
    assert uploads.send_missing(upload_id, most=1) == [1]
    restarted = create_app(settings)
    with TestClient(restarted, headers=uploads.client.headers) as client:
        again = Uploads(client, restarted, uploads.manifest)
        assert [part["number"] for part in again.look(upload_id)["received"]] == [1]
        assert again.send_missing(upload_id) == [2, 3]
        assert again.complete(upload_id).status_code == 202
        again.work()
        assert again.look(upload_id)["status"] == "completed"


@WHERE
def test_completing_twice_is_the_same_as_once(
    uploads: Uploads, database: Database, where: str
) -> None:
    upload_id = uploads.whole()
    first, second = uploads.complete(upload_id), uploads.complete(upload_id)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    uploads.work()
    third = uploads.complete(upload_id)
    assert (third.status_code, third.json()["status"]) == (202, "completed")
    assert third.json()["model_id"]
    assert (count(database, ModelRow), count(database, JobRow)) == (1, 2)


@WHERE
def test_an_upload_without_all_its_parts_is_not_completed_and_says_which(
    uploads: Uploads, where: str
) -> None:
    upload_id = uploads.begin().json()["id"]
    assert code(uploads.complete(upload_id)) == (409, "upload-incomplete")
    uploads.send_missing(upload_id, most=1)
    answer = uploads.complete(upload_id)
    assert code(answer) == (409, "upload-incomplete")
    assert "2 of 3 parts" in answer.json()["detail"]
    assert ": 2, 3." in answer.json()["detail"]
    uploads.send_missing(upload_id)
    assert uploads.complete(upload_id).status_code == 202


@WHERE
def test_bytes_other_than_announced_fail_and_leave_nothing(
    uploads: Uploads, database: Database, where: str
) -> None:
    upload_id = uploads.whole(sha256="0" * 64)
    uploads.complete(upload_id)
    uploads.work()
    seen = uploads.look(upload_id)
    assert (seen["status"], seen["reason_code"]) == ("failed", "checksum-mismatch")
    assert hashlib.sha256(DATA).hexdigest() in seen["reason"]
    assert uploads.left() == ([], 0)
    assert count(database, ModelRow) == 0
    assert code(uploads.complete(upload_id)) == (409, "upload-ended")


@WHERE
def test_an_upload_that_is_given_up_leaves_nothing(uploads: Uploads, where: str) -> None:
    upload_id = uploads.begin().json()["id"]
    late = uploads.look(upload_id)
    uploads.send_missing(upload_id, most=1)
    for _ in range(2):
        answer = uploads.client.delete(f"/v1/uploads/{upload_id}")
        assert (answer.status_code, answer.json()["status"]) == (200, "aborted")
    assert uploads.left() == ([], 0)
    assert code(uploads.complete(upload_id)) == (409, "upload-ended")
    refused = uploads.send(late["next_parts"][1], DATA, send_key=late["send_key"])
    assert refused.status_code in (404, 409)
    assert uploads.left() == ([], 0)


@WHERE
def test_the_same_bytes_sent_both_ways_are_one_model(
    uploads: Uploads, upload: Callable[..., Any], database: Database, where: str
) -> None:
    data = secrets.token_bytes(1000)
    known = upload(data).json()
    upload_id = uploads.whole(data)
    uploads.complete(upload_id)
    uploads.work()
    seen = uploads.look(upload_id)
    assert (seen["status"], seen["model_id"]) == ("completed", known["id"])
    assert count(database, ModelRow) == 1
    assert uploads.left() == ([quarantine_key(known["id"])], 0)


@EMBEDDED
def test_bytes_that_are_in_the_pool_already_need_not_be_sent(
    uploads: Uploads, upload: Callable[..., Any], where: str
) -> None:
    known = upload(b"a checkpoint").json()
    answer = uploads.begin(12, sha256=known["sha256"])
    assert answer.status_code == 201
    assert (answer.json()["status"], answer.json()["model_id"]) == ("completed", known["id"])
    assert uploads.complete(answer.json()["id"]).json() == answer.json()
    uploads.manifest["image_size"] = 64
    assert code(uploads.begin(12, sha256=known["sha256"])) == (409, "manifest-conflict")


@EMBEDDED
def test_the_same_bytes_with_another_meaning_fail_when_they_are_known(
    uploads: Uploads, upload: Callable[..., Any], where: str
) -> None:
    known = upload(b"a checkpoint").json()
    uploads.manifest["image_size"] = 64
    upload_id = uploads.whole(b"a checkpoint")
    uploads.complete(upload_id)
    uploads.work()
    seen = uploads.look(upload_id)
    assert (seen["status"], seen["reason_code"]) == ("failed", "manifest-conflict")
    assert uploads.left() == ([quarantine_key(known["id"])], 0)


@EMBEDDED
def test_an_upload_belongs_to_its_organisation(
    uploads: Uploads, app: FastAPI, database: Database, where: str
) -> None:
    from pool.database.tables import OrganisationRow, PoolRow

    upload_id = uploads.begin().json()["id"]
    with database.write() as session:
        session.add(OrganisationRow(id="org_x", name="another"))
        session.flush()
        session.add(PoolRow(id="pol_x", organisation_id="org_x", name="default"))
        _, key = create_key(session, "org_x", name="a key", scopes=[*Scope])
    foreign = TestClient(app, headers={"Authorization": f"Bearer {key}"})
    at = f"/v1/uploads/{upload_id}"
    answers = [
        foreign.get(at),
        foreign.put(f"{at}/parts/1", content=b"x"),
        foreign.post(f"{at}/complete"),
        foreign.delete(at),
    ]
    assert {code(answer) for answer in answers} == {(404, "upload-not-found")}
    assert foreign.get("/v1/uploads").json()["items"] == []
    assert [each["id"] for each in uploads.client.get("/v1/uploads").json()["items"]] == [upload_id]
    assert uploads.look(upload_id)["status"] == "open"


@EMBEDDED
@pytest.mark.parametrize("scope", [Scope.MODELS_READ, Scope.BUILDS_WRITE])
def test_a_key_that_may_not_write_models_gets_no_part_in_and_no_url_out(
    uploads: Uploads, with_scopes: Callable[..., TestClient], scope: Scope, where: str
) -> None:
    upload_id = uploads.begin().json()["id"]
    other = with_scopes(scope)
    at = f"/v1/uploads/{upload_id}"
    for answer in (
        other.post("/v1/uploads", json={}),
        other.get(at),
        other.put(f"{at}/parts/1", content=b"x"),
        other.post(f"{at}/complete"),
        other.delete(at),
    ):
        assert code(answer) == (403, "not-allowed")


# Parts that come to the API.


@EMBEDDED
@pytest.mark.parametrize("off", [-1, 1, -MIN_PART_BYTES])
@pytest.mark.parametrize("declared", [True, False])
def test_a_part_of_another_size_is_refused_and_the_one_before_stays(
    uploads: Uploads, off: int, declared: bool, where: str
) -> None:
    upload_id = uploads.begin().json()["id"]
    uploads.send_missing(upload_id)
    before = uploads.look(upload_id)["received"]
    body = b"x" * (MIN_PART_BYTES + off)

    def chunks() -> Iterator[bytes]:
        yield from (body[start : start + MIB] for start in range(0, len(body), MIB))

    answer = uploads.client.put(
        f"/v1/uploads/{upload_id}/parts/1", content=body if declared else chunks()
    )
    assert code(answer) == (422, "part-mismatch")
    assert uploads.look(upload_id)["received"] == before


@EMBEDDED
def test_a_part_sent_again_replaces_the_one_before(uploads: Uploads, where: str) -> None:
    upload_id = uploads.whole(secrets.token_bytes(len(DATA)))
    for part in (1, 2, 3):
        body = DATA[(part - 1) * MIN_PART_BYTES : part * MIN_PART_BYTES]
        answer = uploads.client.put(f"/v1/uploads/{upload_id}/parts/{part}", content=body)
        assert answer.json()["etag"] == hashlib.sha256(body).hexdigest()
    uploads.complete(upload_id)
    uploads.work()
    model = uploads.client.get(f"/v1/models/{uploads.look(upload_id)['model_id']}").json()
    assert model["sha256"] == hashlib.sha256(DATA).hexdigest()


@EMBEDDED
@pytest.mark.parametrize(("number", "status"), [("0", 422), ("4", 422), ("10001", 422), ("x", 422)])
def test_a_part_that_the_upload_does_not_have_is_refused(
    uploads: Uploads, number: str, status: int, where: str
) -> None:
    upload_id = uploads.begin().json()["id"]
    answer = uploads.client.put(f"/v1/uploads/{upload_id}/parts/{number}", content=b"x")
    assert answer.status_code == status
    assert uploads.left() == ([], 0)


@EMBEDDED
def test_an_upload_under_assembly_takes_no_part(uploads: Uploads, where: str) -> None:
    upload_id = uploads.whole()
    uploads.complete(upload_id)
    body = b"x" * MIN_PART_BYTES
    refused = uploads.client.put(f"/v1/uploads/{upload_id}/parts/1", content=body)
    assert code(refused) == (409, "upload-ended")


@pytest.mark.parametrize("where", ["s3"])
def test_the_apis_own_address_leads_to_the_store_without_reading_the_part(
    uploads: Uploads, where: str
) -> None:
    """So `curl -L -T` needs to know one address, whatever the deployment's store."""
    upload_id = uploads.begin(4).json()["id"]
    answer = uploads.client.put(
        f"/v1/uploads/{upload_id}/parts/1", content=b"part", follow_redirects=False
    )
    assert answer.status_code == 307
    assert httpx.put(answer.headers["location"], content=b"part").status_code == 200
    assert [part["number"] for part in uploads.look(upload_id)["received"]] == [1]


# What is refused at the beginning.


@EMBEDDED
@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"size": 0}, "body/size_bytes"),
        ({"part_size": MIN_PART_BYTES - 1}, "body/part_size"),
        ({"size": 8 * 10**9, "part_size": MIN_PART_BYTES, "max": 10**12}, "body/part_size"),
        ({"sha256": "abc"}, "body/sha256"),
        ({"filename": "secret.pt"}, "body/filename"),
        ({"manifest": {}}, "body/manifest/name"),
    ],
)
def test_a_wrong_announcement_is_refused_by_field(
    uploads: Uploads, fields: dict[str, Any], part: str, where: str
) -> None:
    if most := fields.pop("max", None):
        uploads.app.state.settings.max_upload_bytes = most
    size = fields.pop("size", len(DATA))
    if size == 8 * 10**9:
        size = 10_000 * MIN_PART_BYTES + 1
    answer = uploads.begin(size, **fields)
    assert code(answer) == (422, "invalid-input")
    assert answer.json()["errors"][0]["part"] == part
    assert "secret.pt" not in answer.text
    assert count(uploads.app.state.database, UploadRow) == 0


@EMBEDDED
def test_a_manifest_that_contradicts_itself_is_refused_before_a_byte_is_sent(
    uploads: Uploads, where: str
) -> None:
    uploads.manifest["class_names"] = ["a", "a"]
    answer = uploads.begin()
    assert answer.json()["errors"][0]["part"] == "body/manifest/class_names"
    uploads.manifest |= {"class_names": ["a", "b"], "sha256": "0" * 64}
    assert code(uploads.begin(sha256="1" * 64)) == (422, "checksum-mismatch")
    uploads.manifest["pool"] = "nowhere"
    assert code(uploads.begin()) == (404, "pool-not-found")


@EMBEDDED
def test_uploads_may_be_larger_than_a_one_shot_upload_up_to_a_limit_of_their_own(
    uploads: Uploads, settings: Settings, where: str
) -> None:
    assert settings.max_checkpoint_bytes < settings.max_upload_bytes
    assert uploads.begin(settings.max_upload_bytes, part_size=16 * MIB).status_code == 201
    refused = uploads.begin(settings.max_upload_bytes + 1, part_size=16 * MIB)
    assert code(refused) == (413, "too-large")
    assert f"{settings.max_upload_bytes:,}" in refused.json()["detail"]


@EMBEDDED
def test_announced_bytes_count_until_the_upload_ends(uploads: Uploads, where: str) -> None:
    uploads.app.state.settings.quota_bytes = 20 * MIB

    def used() -> tuple[int, int]:
        found = uploads.client.get("/v1/usage").json()
        return found["stored_bytes"]["used"], found["live_models"]["used"]

    upload_id = uploads.whole()
    assert used() == (len(DATA), 1)
    assert code(uploads.begin()) == (429, "quota-exceeded")
    assert uploads.left()[1] == 1
    uploads.complete(upload_id)
    assert used() == (len(DATA), 1)
    uploads.work()
    assert used() == (len(DATA), 1)  # now as a model
    other = uploads.begin(8 * MIB).json()["id"]
    assert used() == (len(DATA) + 8 * MIB, 2)
    uploads.client.delete(f"/v1/uploads/{other}")
    assert used() == (len(DATA), 1)


@EMBEDDED
def test_a_creation_under_one_key_happens_once_also_a_completion(
    uploads: Uploads, database: Database, where: str
) -> None:
    body = {"manifest": uploads.manifest, "size_bytes": 4}
    key = {"Idempotency-Key": "begin"}
    first = uploads.client.post("/v1/uploads", json=body, headers=key)
    again = uploads.client.post("/v1/uploads", json=body, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.json()) == (201, first.json())
    assert count(database, UploadRow) == 1
    upload_id = first.json()["id"]
    uploads.send_missing(upload_id, b"data")
    at, key = f"/v1/uploads/{upload_id}/complete", {"Idempotency-Key": "complete"}
    done = uploads.client.post(at, headers=key)
    uploads.work()
    assert uploads.client.post(at, headers=key).json() == done.json()


@EMBEDDED
def test_an_upload_past_its_time_takes_nothing_more(
    uploads: Uploads, database: Database, where: str
) -> None:
    upload_id = uploads.whole()
    with database.write() as session:
        session.execute(update(UploadRow).values(expires_at=utc_now()))
    at = f"/v1/uploads/{upload_id}"
    body = b"x" * MIN_PART_BYTES
    assert code(uploads.client.put(f"{at}/parts/1", content=body)) == (409, "upload-ended")
    assert code(uploads.complete(upload_id)) == (409, "upload-ended")
    with database.write() as session:
        session.execute(update(UploadRow).values(status=UploadStatus.EXPIRED))
    assert "in time" in uploads.complete(upload_id).json()["detail"]


@EMBEDDED
def test_the_number_of_urls_is_the_clients_choice(uploads: Uploads, where: str) -> None:
    upload_id = uploads.begin().json()["id"]
    seen = uploads.look(upload_id, urls=2)
    assert [part["number"] for part in seen["next_parts"]] == [1, 2]
    assert seen["n_missing"] == 3
    answer = uploads.client.get(f"/v1/uploads/{upload_id}?urls=1001")
    assert code(answer) == (422, "invalid-input")


@EMBEDDED
def test_no_name_of_a_model_is_in_the_store(uploads: Uploads, tmp_path: Path, where: str) -> None:
    uploads.manifest["name"] = "a-telling-name"
    uploads.whole()
    objects = tmp_path / "var" / "objects"
    assert not [path for path in objects.rglob("*") if "telling" in path.name]
