"""A few-shot request that cannot be used is refused with 422, and the part that is wrong named."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from pool.database.tables import MetaLearnerRow

Encode = Callable[..., bytes]
Files = list[tuple[str, bytes]]


def chunk(kind: bytes, data: bytes) -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def enormous_png(side: int = 100_000) -> bytes:
    """A few bytes whose header claims 100,000 x 100,000 pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def enormous_bmp(side: int = 100_000) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + info + bytes(1000)


def of_another_format(form: str) -> bytes:
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, form)
    return file.getvalue()


GOOD = of_another_format("PNG")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A few-shot request; good unless changed."""

    support: list[bytes] = field(default_factory=lambda: [GOOD] * 4)
    labels: list[str] = field(default_factory=lambda: ["x", "x", "y", "y"])
    query: list[bytes] = field(default_factory=lambda: [GOOD])
    texts: list[tuple[str, str]] = field(default_factory=list)

    def parts(self) -> list[tuple[str, Any]]:
        """The multipart form."""
        parts: list[tuple[str, Any]] = [("support", ("s", image)) for image in self.support]
        parts += [("labels", (None, label.encode())) for label in self.labels]
        parts += [("query", ("q", image)) for image in self.query]
        return parts + [(name, (None, text.encode())) for name, text in self.texts]


def in_support(image: bytes) -> Request:
    return Request(support=[GOOD, GOOD, image, GOOD])


BAD: dict[str, tuple[str, Request]] = {
    "nothing": ("support", Request(support=[], labels=[], query=[])),
    "no support": ("support", Request(support=[])),
    "no labels": ("labels", Request(labels=[])),
    "no query": ("query", Request(query=[])),
    "one label too few": ("labels", Request(labels=["x", "x", "y"])),
    "one label too many": ("labels", Request(labels=["x", "x", "y", "y", "y"])),
    "one class": ("labels", Request(labels=["x"] * 4)),
    "51 classes": (
        "labels",
        Request(support=[GOOD] * 51, labels=[f"class {number}" for number in range(51)]),
    ),
    "101 shots": ("support", Request(support=[GOOD] * 102, labels=["x"] * 101 + ["y"])),
    "501 queries": ("query", Request(query=[GOOD] * 501)),
    "an empty label": ("labels[1]", Request(labels=["x", "", "y", "y"])),
    "a blank label": ("labels[3]", Request(labels=["x", "x", "y", " \t"])),
    "a long label": ("labels[0]", Request(labels=["l" * 201, "x", "y", "y"])),
    "a very long label": ("labels[0]", Request(labels=["l" * 5000, "x", "y", "y"])),
    "no image": ("support[2]", in_support(b"not an image")),
    "an empty image": ("support[2]", in_support(b"")),
    "half an image": ("support[2]", in_support(GOOD[: len(GOOD) // 2])),
    "a broken query": ("query[1]", Request(query=[GOOD, b"not an image", GOOD])),
    "an enormous PNG": ("support[2]", in_support(enormous_png())),
    "an enormous BMP": ("support[2]", in_support(enormous_bmp())),
    "a large PNG": ("support[2]", in_support(enormous_png(6400))),
    "a GIF": ("support[2]", in_support(of_another_format("GIF"))),
    "a TIFF": ("support[2]", in_support(of_another_format("TIFF"))),
    "an SVG": ("support[2]", in_support(b'<svg xmlns="http://www.w3.org/2000/svg"/>')),
    "text instead of a query": ("query[1]", Request(texts=[("query", "an image, in words")])),
    **{
        f"teachers: {text!r}": ("teachers", Request(texts=[("teachers", text)]))
        for text in ("0", "1001", "-1", "2.5", "ten", "", "٣", "1e2", "9" * 5000)
    },
    "teachers said twice": ("teachers", Request(texts=[("teachers", "1"), ("teachers", "1")])),
    "teachers of one network": ("teachers", Request(texts=[("teachers", "10")])),
    "text instead of a support image": (
        "support[0]",
        Request(support=[], texts=[("support", "an image, in words")] * 4),
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_request_is_refused_and_its_part_named(
    client: TestClient, add_meta_learner: Callable[..., MetaLearnerRow], kind: str
) -> None:
    part, request = BAD[kind]
    path = f"/v1/meta-learners/{add_meta_learner().id}/predictions"
    answer = client.post(path, files=request.parts() or [("nothing", (None, b""))])
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid-input"), problem
    assert [fault["part"] for fault in problem["errors"]] == [part]


def test_the_good_request_that_these_are_made_from_is_answered(
    client: TestClient, add_meta_learner: Callable[..., MetaLearnerRow]
) -> None:
    path = f"/v1/meta-learners/{add_meta_learner().id}/predictions"
    assert client.post(path, files=Request().parts()).status_code == 200


def test_a_label_that_is_a_file_is_refused(
    client: TestClient, add_meta_learner: Callable[..., MetaLearnerRow]
) -> None:
    path = f"/v1/meta-learners/{add_meta_learner().id}/predictions"
    request = Request(labels=[])
    files = [*request.parts(), *(("labels", ("label.txt", b"x")) for _ in range(4))]
    answer = client.post(path, files=files)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["part"] == "labels[0]"


def test_a_request_over_the_limit_is_too_large(
    client: TestClient, add_meta_learner: Callable[..., MetaLearnerRow]
) -> None:
    path = f"/v1/meta-learners/{add_meta_learner().id}/predictions"
    answer = client.post(path, files=in_support(bytes(9_000_000)).parts())
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


def test_a_request_that_is_json_is_refused(
    client: TestClient, add_meta_learner: Callable[..., MetaLearnerRow]
) -> None:
    path = f"/v1/meta-learners/{add_meta_learner().id}/predictions"
    answer = client.post(path, json={"support": []})
    assert answer.json()["errors"][0]["part"] == "content-type"
