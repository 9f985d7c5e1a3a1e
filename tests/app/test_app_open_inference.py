"""Adaptations asked by the Open Inference Protocol, version 2, as its clients write it."""

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from ml.fewshot import decode_image
from pool.database.tables import MetaLearnerRow

Encode = Callable[..., bytes]
AddMetaLearner = Callable[..., MetaLearnerRow]
SIDE = 16


@pytest.fixture
def adaptation(client: TestClient, encode: Encode, add_meta_learner: AddMetaLearner) -> str:
    """Two classes of two images."""
    made = client.post(
        f"/v1/meta-learners/{add_meta_learner().id}/adaptations",
        data={"labels": ["größe", "b", "größe", "b"]},
        files=[("support", ("s", encode(n))) for n in range(4)],
    )
    return str(made.json()["id"])


@pytest.fixture
def pixels(encode: Encode) -> Any:
    """Three images as numbers."""
    images = [decode_image(encode(50 + n), size=SIDE, channels=1) for n in range(3)]
    return np.stack([image.numpy() for image in images])


@pytest.fixture
def expected(client: TestClient, adaptation: str, encode: Encode) -> list[dict[str, Any]]:
    """What the API itself answers."""
    files = [("query", ("q", encode(50 + n))) for n in range(3)]
    answer = client.post(f"/v1/adaptations/{adaptation}/predictions", files=files).json()
    found: list[dict[str, Any]] = answer["predictions"]
    return found


def tensor(pixels: Any, **changes: Any) -> dict[str, Any]:
    said = {"name": "images", "shape": list(pixels.shape), "datatype": "FP32"}
    return said | {"data": pixels.ravel().tolist()} | changes


def infer(client: TestClient, adaptation: str, *inputs: dict[str, Any], **more: Any) -> Any:
    return client.post(f"/v2/models/{adaptation}/infer", json={"inputs": list(inputs)} | more)


@pytest.mark.parametrize("nested", [False, True])
def test_a_tensor_of_images_is_answered_as_the_files_are(
    client: TestClient, adaptation: str, pixels: Any, expected: list[dict[str, Any]], nested: bool
) -> None:
    data = pixels.tolist() if nested else pixels.ravel().tolist()
    answer = infer(client, adaptation, tensor(pixels, data=data), id="mine").json()
    assert (answer["model_name"], answer["id"]) == (adaptation, "mine")
    outputs = {each["name"]: each for each in answer["outputs"]}
    assert outputs["probabilities"]["shape"] == [3, 2]
    rows = np.array(outputs["probabilities"]["data"]).reshape(3, 2)
    np.testing.assert_allclose(
        rows, [list(each["probabilities"].values()) for each in expected], atol=1e-5
    )
    assert outputs["labels"]["data"] == [each["label"] for each in expected]
    assert outputs["nearest_support"]["data"] == [each["nearest_support"] for each in expected]


def test_bytes_behind_the_json_are_taken_and_given(
    client: TestClient, adaptation: str, pixels: Any, expected: list[dict[str, Any]]
) -> None:
    raw = pixels.astype("<f4").tobytes()
    said = tensor(pixels, parameters={"binary_data_size": len(raw)})
    del said["data"]
    head = json.dumps({"inputs": [said], "parameters": {"binary_data_output": True}}).encode()
    length = "Inference-Header-Content-Length"
    answer = client.post(
        f"/v2/models/{adaptation}/infer",
        content=head + raw,
        headers={length: str(len(head)), "Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 200, answer.text
    told = json.loads(answer.content[: int(answer.headers[length])])
    tail = answer.content[int(answer.headers[length]) :]
    sizes = [each["parameters"]["binary_data_size"] for each in told["outputs"]]
    assert sum(sizes) == len(tail)
    rows = np.frombuffer(tail[: sizes[0]], "<f4").reshape(3, 2)
    np.testing.assert_allclose(
        rows, [list(each["probabilities"].values()) for each in expected], atol=1e-5
    )
    labels, rest = [], tail[sizes[0] : sizes[0] + sizes[1]]
    while rest:
        (count,) = struct.unpack("<I", rest[:4])
        labels.append(rest[4 : 4 + count].decode())
        rest = rest[4 + count :]
    assert labels == [each["label"] for each in expected]


def test_whole_numbers_are_pixels_of_eight_bits(
    client: TestClient, adaptation: str, pixels: Any
) -> None:
    bytes_of = (pixels * 255).round().astype(int)
    whole = infer(client, adaptation, tensor(bytes_of, datatype="UINT8")).json()
    exact = infer(client, adaptation, tensor(bytes_of / 255)).json()
    first, second = (each["outputs"][0]["data"] for each in (whole, exact))
    assert first == pytest.approx(second, abs=1e-5)


def test_wanted_outputs_come_alone_and_in_order(
    client: TestClient, adaptation: str, pixels: Any
) -> None:
    wanted = [{"name": "labels"}, {"name": "probabilities"}]
    answer = infer(client, adaptation, tensor(pixels), outputs=wanted).json()
    assert [each["name"] for each in answer["outputs"]] == ["labels", "probabilities"]
    refused = infer(client, adaptation, tensor(pixels), outputs=[{"name": "logits"}])
    assert refused.status_code == 422


def test_metadata_and_readiness_are_told(client: TestClient, adaptation: str) -> None:
    server = client.get("/v2").json()
    assert server["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    described = client.get(f"/v2/models/{adaptation}").json()
    assert [each["name"] for each in described["inputs"]] == ["images"]
    assert {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]} in described["outputs"]
    assert client.get(f"/v2/models/{adaptation}/ready").json()["ready"] is True


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "x"}, "called `images`"),
        ({"datatype": "FP64"}, "FP32"),
        ({"shape": [3, 2, 16, 16]}, "1 or 3 channels"),
        ({"shape": [0, 1, 16, 16]}, "1 to 500 images"),
        ({"shape": [1, 1, 2000, 2]}, "1 to 1024 pixels"),
        ({"shape": [2, 1, 16, 16]}, "512 values; 768 came"),
        ({"shape": [3, 16, 16]}, "at least 4"),
        ({"data": ["a"]}, "numbers"),
        ({"data": [[[[[0.5]]]]]}, "numbers"),
        ({"data": [2.0] * 768}, "0 to 1"),
        ({"data": [300] * 768, "datatype": "UINT8"}, "0 to 255"),
        ({"parameters": {"binary_data_size": 4}}, "0 came"),
    ],
)
def test_a_bad_tensor_is_refused_where_the_protocols_clients_look(
    client: TestClient, adaptation: str, pixels: Any, changes: dict[str, Any], said: str
) -> None:
    answer = infer(client, adaptation, tensor(pixels, **changes))
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["error"]
    assert answer.json()["error"] == answer.json()["detail"]


def test_what_is_no_request_is_refused(client: TestClient, adaptation: str) -> None:
    path = f"/v2/models/{adaptation}/infer"
    assert client.post(path, content=b"{").status_code == 422
    for length in ("-4", "", "9" * 5000):
        header = {"Inference-Header-Content-Length": length}
        assert client.post(path, content=b"{}", headers=header).status_code == 422
    unknown = client.post("/v2/models/ad_0/infer", json={})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "adaptation-not-found")
