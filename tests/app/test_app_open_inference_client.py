"""Our `/v2` over a real web server, asked by a client that we did not write: NVIDIA's."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from live import serving
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from ml.fewshot import decode_image
from pool.database.tables import MetaLearnerRow
from tests.factories import ADMIN

Encode = Callable[..., bytes]
SIDE = 16
QUERIES = range(50, 53)
OUTPUTS = ("probabilities", "labels", "nearest_support")


def key() -> dict[str, str]:
    """The client's `headers`; made anew for each call, since it writes its own into them."""
    return {"Authorization": f"Bearer {ADMIN}"}


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """Where the server listens."""
    with serving(app) as address:
        yield address


@pytest.fixture
def api(url: str) -> Iterator[httpx.Client]:
    """The same server by its own API."""
    with httpx.Client(base_url=url, headers=key(), timeout=60) as client:
        yield client


@pytest.fixture
def theirs(url: str) -> Iterator[InferenceServerClient]:
    """NVIDIA's client; it takes addresses without a scheme."""
    with InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


@pytest.fixture
def adaptation(
    api: httpx.Client, encode: Encode, add_meta_learner: Callable[..., MetaLearnerRow]
) -> str:
    """Two classes of two images; one of the names is not ASCII."""
    made = api.post(
        f"/v1/meta-learners/{add_meta_learner().id}/adaptations",
        data={"labels": ["größe", "b", "größe", "b"]},
        files=[("support", ("s", encode(n))) for n in range(4)],
    )
    return str(made.json()["id"])


@pytest.fixture
def expected(api: httpx.Client, adaptation: str, encode: Encode) -> list[dict[str, Any]]:
    """What our own API answers to the same images, as files."""
    files = [("query", ("q", encode(number))) for number in QUERIES]
    answer = api.post(f"/v1/adaptations/{adaptation}/predictions", files=files)
    found: list[dict[str, Any]] = answer.json()["predictions"]
    assert len({each["label"] for each in found}) == 2  # else a constant would pass
    return found


@pytest.fixture
def pixels(encode: Encode) -> Any:
    """The images as numbers in [0, 1], [N, C, H, W]."""
    images = [decode_image(encode(number), size=SIDE, channels=1) for number in QUERIES]
    return np.stack([image.numpy() for image in images])


def tensor(pixels: Any, datatype: str = "FP32", *, binary: bool = True) -> InferInput:
    made = InferInput("images", list(pixels.shape), datatype)
    made.set_data_from_numpy(pixels, binary_data=binary)
    return made


def check(answer: Any, expected: list[dict[str, Any]]) -> None:
    """The same probabilities, labels and nearest support images, whatever they came as."""
    rows = [list(each["probabilities"].values()) for each in expected]
    np.testing.assert_allclose(answer.as_numpy("probabilities"), rows, atol=1e-5)
    labels = [
        label.decode() if isinstance(label, bytes) else label for label in answer.as_numpy("labels")
    ]
    assert labels == [each["label"] for each in expected]
    nearest = answer.as_numpy("nearest_support").tolist()
    assert nearest == [each["nearest_support"] for each in expected]


def test_it_finds_the_server_live_and_ready(theirs: InferenceServerClient) -> None:
    assert theirs.is_server_live()
    assert theirs.is_server_ready()
    said = theirs.get_server_metadata()
    assert (said["name"], said["extensions"]) == ("modelpool", ["binary_tensor_data"])


def test_it_reads_what_an_adaptation_takes_and_gives(
    theirs: InferenceServerClient, adaptation: str
) -> None:
    assert theirs.is_model_ready(adaptation, headers=key())
    said = theirs.get_model_metadata(adaptation, headers=key())
    assert said["name"] == adaptation
    assert said["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, -1, -1, -1]}]
    assert tuple(output["name"] for output in said["outputs"]) == OUTPUTS


@pytest.mark.parametrize("gives_binary", [True, False])
@pytest.mark.parametrize("takes_binary", [True, False])
def test_its_tensors_are_answered_as_files_are(
    theirs: InferenceServerClient,
    adaptation: str,
    pixels: Any,
    expected: list[dict[str, Any]],
    takes_binary: bool,
    gives_binary: bool,
) -> None:
    answer = theirs.infer(
        adaptation,
        [tensor(pixels, binary=takes_binary)],
        outputs=[InferRequestedOutput(name, binary_data=gives_binary) for name in OUTPUTS],
        request_id="mine",
        headers=key(),
    )
    told = answer.get_response()
    assert (told["model_name"], told["id"]) == (adaptation, "mine")
    sizes = [answer.get_output(name).get("parameters") for name in OUTPUTS]
    assert [size is not None for size in sizes] == [gives_binary] * len(OUTPUTS)
    check(answer, expected)


def test_its_defaults_will_do_for_pixels_of_eight_bits(
    theirs: InferenceServerClient, adaptation: str, pixels: Any, expected: list[dict[str, Any]]
) -> None:
    whole = (pixels * 255).round().astype(np.uint8)
    check(theirs.infer(adaptation, [tensor(whole, "UINT8")], headers=key()), expected)


def test_its_requests_may_be_under_way_at_once(
    url: str, adaptation: str, pixels: Any, expected: list[dict[str, Any]]
) -> None:
    with InferenceServerClient(url.removeprefix("http://"), concurrency=3) as client:
        asked = [
            client.async_infer(adaptation, [tensor(pixels[row : row + 1])], headers=key())
            for row in range(len(pixels))
        ]
        for request, one in zip(asked, expected, strict=True):
            check(request.get_result(), [one])


def test_an_adaptation_that_is_not_there_is_its_own_exception_with_our_words(
    theirs: InferenceServerClient, api: httpx.Client, pixels: Any
) -> None:
    ours = api.get("/v1/adaptations/ad_0").json()["detail"]
    assert not theirs.is_model_ready("ad_0", headers=key())
    for ask in (
        lambda: theirs.get_model_metadata("ad_0", headers=key()),
        lambda: theirs.infer("ad_0", [tensor(pixels)], headers=key()),
    ):
        with pytest.raises(InferenceServerException) as refused:
            ask()
        assert (refused.value.status(), refused.value.message()) == ("404", ours)


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"headers": {}}, "401", "Authorization"),
        ({"headers": {"Authorization": "Bearer mp_of-somebody-else-0123456789"}}, "401", "key"),
        ({"request_compression_algorithm": "gzip"}, "422", "compressed"),
        ({"outputs": [InferRequestedOutput("logits")]}, "422", "The outputs are probabilities"),
        ({"model_version": "2"}, "404", "Not Found"),
    ],
)
def test_what_is_refused_is_its_own_exception_and_says_why(
    theirs: InferenceServerClient,
    adaptation: str,
    pixels: Any,
    wrong: dict[str, Any],
    status: str,
    said: str,
) -> None:
    asked = {"headers": key()} | wrong
    with pytest.raises(InferenceServerException) as refused:
        theirs.infer(adaptation, [tensor(pixels)], **asked)
    assert refused.value.status() == status
    assert said in refused.value.message()
    assert "{" not in refused.value.message()  # the words, not the document that has them
    assert theirs.is_server_live()  # the connection is as good as before
