"""A few-shot request: labelled images in, one answer per query out, in order."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import update
from starlette.testclient import TestClient

from pool.database.session import Database
from pool.database.tables import MetaLearnerRow
from pool.domain import MetaLearnerStatus

Ask = Callable[..., Any]
Encode = Callable[..., bytes]
AddMetaLearner = Callable[..., MetaLearnerRow]


def answered(answer: Any, labels: list[str], n_queries: int) -> list[dict[str, Any]]:
    """The predictions, once they are what every answer must be."""
    assert answer.status_code == 200, answer.text
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    assert len(predictions) == n_queries
    for prediction in predictions:
        probabilities = prediction["probabilities"]
        assert list(probabilities) == list(dict.fromkeys(labels))
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert all(0 <= p <= 1 for p in probabilities.values())
        assert probabilities[prediction["label"]] == max(probabilities.values())
    return predictions


@pytest.mark.parametrize("n_way", [2, 5, 50])
def test_a_query_that_is_a_support_image_gets_its_label(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner, n_way: int
) -> None:
    images = [encode(number) for number in range(n_way)]
    labels = [f"class {number}" for number in range(n_way)]
    answer = ask(add_meta_learner().id, list(zip(labels, images, strict=True)), images)
    predictions = answered(answer, labels, n_way)
    assert [prediction["label"] for prediction in predictions] == labels


def test_predictions_come_in_the_order_of_the_queries(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner
) -> None:
    learner_id = add_meta_learner().id
    support = [(f"class {number}", encode(number)) for number in range(3)]
    queries = [encode(100 + number) for number in range(7)]
    order = [4, 0, 6, 2, 5, 1, 3]
    straight = ask(learner_id, support, queries).json()["predictions"]
    shuffled = ask(learner_id, support, [queries[i] for i in order]).json()["predictions"]
    for position, prediction in zip(order, shuffled, strict=True):
        expected = straight[position]["probabilities"]
        assert prediction["probabilities"] == pytest.approx(expected, abs=1e-4)


def test_classes_may_have_different_numbers_of_shots(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner
) -> None:
    labels = ["one"] + ["four"] * 4 + ["hundred"] * 100
    support = [(label, encode(number)) for number, label in enumerate(labels)]
    answer = ask(add_meta_learner().id, support, [encode(999)] * 2)
    answered(answer, labels, 2)


def test_a_class_is_its_label_wherever_its_images_stand(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner
) -> None:
    learner_id = add_meta_learner().id
    a, b, c, d, query = (encode(number) for number in range(5))
    grouped = ask(learner_id, [("x", a), ("x", b), ("y", c), ("y", d)], [query])
    mixed = ask(learner_id, [("x", a), ("y", c), ("x", b), ("y", d)], [query])
    first, second = (
        answered(answer, ["x", "y"], 1)[0]["probabilities"] for answer in (grouped, mixed)
    )
    assert first == pytest.approx(second, abs=1e-4)


def test_as_many_queries_as_allowed_are_answered(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner
) -> None:
    support = [("x", encode(1)), ("y", encode(2))]
    answered(ask(add_meta_learner().id, support, [encode(1)] * 500), ["x", "y"], 500)


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *(("JPEG", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
        *(("BMP", mode) for mode in ("1", "L", "P", "RGB")),
    ],
)
@pytest.mark.parametrize("size", [1, 40])
def test_images_of_each_format_mode_and_size_are_taken(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner, form: str, mode: str, size: int
) -> None:
    image = encode(1, form=form, mode=mode, size=size)
    answer = ask(add_meta_learner().id, [("x", image), ("y", encode(2))], [image])
    answered(answer, ["x", "y"], 1)


def test_labels_may_be_any_text(ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner) -> None:
    labels = ["größe", "a, b", '"quoted"', "😀", "0", "l" * 200]
    support = [(label, encode(number)) for number, label in enumerate(labels)]
    answered(ask(add_meta_learner().id, support, [encode(1)]), labels, 1)


def test_an_answer_tells_its_timing_and_who_gave_it(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner
) -> None:
    row = add_meta_learner()
    answer = ask(row.id, [("x", encode(1)), ("y", encode(2))], [encode(1)]).json()
    assert (answer["meta_learner_id"], answer["meta_learner_status"]) == (row.id, "active")
    stages = answer["stages_ms"]
    assert set(stages) == {"decode", "adapt_and_predict"}
    assert min(stages.values()) > 0
    assert answer["timing_ms"] >= sum(stages.values())


def test_a_tainted_meta_learner_answers_and_says_that_it_is(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner
) -> None:
    row = add_meta_learner(status=MetaLearnerStatus.TAINTED)
    answer = ask(row.id, [("x", encode(1)), ("y", encode(2))], [encode(1)]).json()
    assert answer["meta_learner_status"] == "tainted"


def test_a_retired_meta_learner_is_gone_and_an_unknown_one_not_found(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner
) -> None:
    support = [("x", encode(1)), ("y", encode(2))]
    retired = ask(add_meta_learner(status=MetaLearnerStatus.RETIRED).id, support, [encode(1)])
    assert (retired.status_code, retired.json()["code"]) == (410, "meta-learner-retired")
    unknown = ask("ml_nothing", support, [encode(1)])
    assert (unknown.status_code, unknown.json()["code"]) == (404, "meta-learner-not-found")


def test_a_meta_learner_retired_after_it_was_loaded_answers_no_more(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner, database: Database
) -> None:
    row = add_meta_learner()
    support = [("x", encode(1)), ("y", encode(2))]
    assert ask(row.id, support, [encode(1)]).status_code == 200
    with database.write() as session:
        session.execute(update(MetaLearnerRow).values(status=MetaLearnerStatus.RETIRED))
    assert ask(row.id, support, [encode(1)]).status_code == 410


def test_a_meta_learner_is_fetched_once_while_it_is_remembered(
    ask: Ask,
    encode: Encode,
    add_meta_learner: AddMetaLearner,
    app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app.state.inference._learners._capacity = 2
    fetched: Counter[str] = Counter()
    fetch = app.state.store.fetch

    def counted(key: str, path: Any) -> None:
        fetched[key] += 1
        fetch(key, path)

    monkeypatch.setattr(app.state.store, "fetch", counted)
    first, second, third = (add_meta_learner() for _ in range(3))
    support = [("x", encode(1)), ("y", encode(2))]
    for row in (first, second, first, third, first, second):
        assert ask(row.id, support, [encode(1)]).status_code == 200
    assert [fetched[row.object_key] for row in (first, second, third)] == [1, 2, 1]


def test_a_meta_learner_whose_bytes_are_missing_is_unavailable(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner, app: FastAPI
) -> None:
    row = add_meta_learner()
    app.state.store.delete(row.object_key)
    answer = ask(row.id, [("x", encode(1)), ("y", encode(2))], [encode(1)])
    assert (answer.status_code, answer.json()["code"]) == (503, "object-missing")


def test_requests_at_once_get_their_own_answers(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner, client: TestClient
) -> None:
    learner_id = add_meta_learner().id

    def request(number: int) -> str:
        images = [encode(10 * number), encode(10 * number + 1)]
        labels = [f"a{number}", f"b{number}"]
        answer = ask(learner_id, list(zip(labels, images, strict=True)), [images[1]])
        return str(answered(answer, labels, 1)[0]["label"])

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(request, range(8))) == [f"b{number}" for number in range(8)]
