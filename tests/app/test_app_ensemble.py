"""A few-shot request to an ensemble, through the same route as to any other meta-learner."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from pool.database.tables import MetaLearnerRow

Ask = Callable[..., Any]
Encode = Callable[..., bytes]
AddMetaLearner = Callable[..., MetaLearnerRow]


@pytest.fixture
def ensemble_id(add_meta_learner: AddMetaLearner, ensemble_file: Path) -> str:
    """An ensemble of three members that asks all of them."""
    return add_meta_learner(file=ensemble_file, backbone="ensemble").id


def probabilities(answer: Any) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    return [list(each["probabilities"].values()) for each in answer.json()["predictions"]]


@pytest.mark.parametrize("n_way", [2, 50])
def test_an_ensemble_labels_a_support_image_as_it_was_labelled(
    ask: Ask, encode: Encode, ensemble_id: str, n_way: int
) -> None:
    images = [encode(number) for number in range(n_way)]
    labels = [f"class {number}" for number in range(n_way)]
    answer = ask(ensemble_id, list(zip(labels, images, strict=True)), images)
    assert [each["label"] for each in answer.json()["predictions"]] == labels
    assert [sum(row) for row in probabilities(answer)] == pytest.approx([1.0] * n_way, abs=1e-5)


def test_a_request_says_how_many_teachers_answer_and_too_many_are_all(
    ask: Ask, encode: Encode, ensemble_id: str
) -> None:
    support = [(label, encode(number)) for number, label in enumerate("xxyy")]
    queries = [encode(number) for number in range(10, 14)]
    unsaid = probabilities(ask(ensemble_id, support, queries))
    assert probabilities(ask(ensemble_id, support, queries, teachers="1000")) == unsaid
    assert probabilities(ask(ensemble_id, support, queries, teachers=" 3 ")) == unsaid
    assert probabilities(ask(ensemble_id, support, queries, teachers="1")) != unsaid


def test_images_are_decoded_for_the_member_that_sees_most(
    app: FastAPI,
    ask: Ask,
    encode: Encode,
    ensemble_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ml import fewshot

    sides = []
    original = fewshot.decode_image

    def watched(data: bytes, **how: Any) -> Any:
        sides.append(how["size"])
        return original(data, **how)

    monkeypatch.setattr(fewshot, "decode_image", watched)
    probabilities(ask(ensemble_id, [("x", encode(0)), ("y", encode(1))], [encode(2)]))
    assert set(sides) == {32}
