"""An order with a validation set: what is refused, and that repeating it creates nothing twice."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from pool.database.tables import ModelRow

AddModel = Callable[..., ModelRow]
ORDER = json.dumps({"recipe": {"algorithm": "ensemble"}, "seed": 3})


def png(grey: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (20, 20), grey).save(file, "PNG")
    return file.getvalue()


def send(
    client: TestClient,
    images: list[bytes],
    labels: list[str],
    *,
    request: str = ORDER,
    key: str = "",
) -> Any:
    parts: list[tuple[str, Any]] = [("request", (None, request.encode()))]
    parts += [("validation", ("x.png", image)) for image in images]
    parts += [("labels", (None, label.encode())) for label in labels]
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/v1/builds", files=parts, headers=headers)


FOUR = [png(0), png(1), png(2), png(3)]


def test_an_order_with_a_validation_set_is_queued_and_repeated_once(
    client: TestClient, add_model: AddModel
) -> None:
    add_model(), add_model()
    first, again = (send(client, FOUR, ["a", "a", "b", "b"], key="k") for _ in range(2))
    assert (first.status_code, first.json()["seed"]) == (202, 3)
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (
        first.json()["id"],
        "true",
    )
    other = send(client, [*FOUR[:3], png(9)], ["a", "a", "b", "b"], key="k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("images", "labels", "part"),
    [
        ([], [], "validation"),
        (FOUR, ["a", "a", "b"], "labels"),
        (FOUR, ["a"] * 4, "labels"),
        (FOUR, ["a", "a", "a", "b"], "validation"),
        (FOUR, ["a", "a", "b", " "], "labels[3]"),
        ([*FOUR[:3], b"no image"], ["a", "a", "b", "b"], "validation[3]"),
    ],
)
def test_a_set_that_cannot_be_used_is_refused_by_part(
    client: TestClient, add_model: AddModel, images: list[bytes], labels: list[str], part: str
) -> None:
    add_model(), add_model()
    answer = send(client, images, labels)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
    assert [fault["part"] for fault in answer.json()["errors"]] == [part]
    assert client.get("/v1/builds").json()["items"] == []


def test_the_order_beside_a_set_is_judged_like_any_other(
    client: TestClient, add_model: AddModel
) -> None:
    labels = ["a", "a", "b", "b"]
    assert send(client, FOUR, labels).json()["code"] == "no-usable-models"
    add_model(), add_model()
    wrong = send(client, FOUR, labels, request='{"seed": -1}')
    assert (wrong.status_code, wrong.json()["errors"][0]["part"]) == (422, "body/seed")
    assert send(client, FOUR, labels, request="{").status_code == 422
    unknown = send(client, FOUR, labels, request='{"recipe": {"algorithm": "magic"}}')
    assert unknown.json()["code"] == "invalid-recipe"
