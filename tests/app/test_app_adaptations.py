"""Adapt once, ask often: classifiers in the server's memory, and what they say of themselves."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from sqlalchemy import select, update
from starlette.testclient import TestClient

from app.adaptations import Adaptations
from app.inference import Adapted
from app.main import create_app
from ml.classifiers import Classifier
from ml.outlook import Outlook
from pool.database.limit_tables import PredictionCountRow
from pool.database.session import Database
from pool.database.tables import MetaLearnerRow
from pool.domain import MetaLearnerStatus, utc_now
from pool.errors import AdaptationNotFound
from pool.settings import Settings
from pool.usecases.keys import create_key
from pool.usecases.organisations import add_organisation

Ask = Callable[..., Any]
Encode = Callable[..., bytes]
AddMetaLearner = Callable[..., MetaLearnerRow]


@pytest.fixture
def adapt(client: TestClient) -> Ask:
    """Send a support set."""

    def send(meta_learner_id: str, support: list[tuple[str, bytes]], **fields: str) -> Any:
        return client.post(
            f"/v1/meta-learners/{meta_learner_id}/adaptations",
            data={"labels": [label for label, _ in support], **fields},
            files=[("support", ("s", image)) for _, image in support],
        )

    return send


@pytest.fixture
def question(client: TestClient) -> Ask:
    """Ask an adaptation."""

    def send(adaptation_id: str, query: list[bytes], **fields: str) -> Any:
        return client.post(
            f"/v1/adaptations/{adaptation_id}/predictions",
            data=fields,
            files=[("query", ("q", image)) for image in query],
        )

    return send


@pytest.fixture
def support(encode: Encode) -> list[tuple[str, bytes]]:
    """Three classes of four images each."""
    return [(f"class {n % 3}", encode(n)) for n in range(12)]


def test_an_adaptation_answers_as_one_request_would_again_and_again(
    ask: Ask,
    adapt: Ask,
    question: Ask,
    encode: Encode,
    add_meta_learner: AddMetaLearner,
    support: list[tuple[str, bytes]],
) -> None:
    learner, queries = add_meta_learner().id, [encode(100 + n) for n in range(5)]
    at_once = ask(learner, support, queries).json()
    made = adapt(learner, support)
    assert made.status_code == 201, made.text
    assert made.json()["labels"] == ["class 0", "class 1", "class 2"]
    assert made.json()["outlook"] == at_once["outlook"]
    for _ in range(2):
        later = question(made.json()["id"], queries)
        assert later.status_code == 200, later.text
        assert later.json()["predictions"] == at_once["predictions"]
        assert later.json()["meta_learner_id"] == learner


def test_the_nearest_support_image_of_a_support_image_is_itself(
    ask: Ask, add_meta_learner: AddMetaLearner, support: list[tuple[str, bytes]]
) -> None:
    images = [image for _, image in support]
    predictions = ask(add_meta_learner().id, support, images).json()["predictions"]
    assert [each["nearest_support"] for each in predictions] == list(range(12))


def test_it_ends_when_it_is_deleted(
    client: TestClient,
    adapt: Ask,
    question: Ask,
    encode: Encode,
    add_meta_learner: AddMetaLearner,
    support: list[tuple[str, bytes]],
) -> None:
    made = adapt(add_meta_learner().id, support).json()
    path = f"/v1/adaptations/{made['id']}"
    assert client.get(path).json() == made
    assert client.delete(path).json() == made
    for answer in (client.get(path), client.delete(path), question(made["id"], [encode(1)])):
        assert (answer.status_code, answer.json()["code"]) == (404, "adaptation-not-found")
        assert "again" in answer.json()["detail"]


def test_nobody_else_hears_of_it(
    app: FastAPI,
    database: Database,
    client: TestClient,
    adapt: Ask,
    add_meta_learner: AddMetaLearner,
    support: list[tuple[str, bytes]],
) -> None:
    path = f"/v1/adaptations/{adapt(add_meta_learner().id, support).json()['id']}"
    with database.write() as session:
        stranger = add_organisation(session, "another")
        _, key = create_key(session, stranger.id, name="k", scopes=["predict"])
    other = TestClient(app, headers={"Authorization": f"Bearer {key}"})
    assert other.get(path).status_code == 404
    assert other.delete(path).status_code == 404
    assert client.get(path).status_code == 200


def test_it_stops_answering_when_its_meta_learner_is_retired(
    database: Database,
    adapt: Ask,
    question: Ask,
    encode: Encode,
    add_meta_learner: AddMetaLearner,
    support: list[tuple[str, bytes]],
) -> None:
    made = adapt(add_meta_learner().id, support).json()
    with database.write() as session:
        session.execute(update(MetaLearnerRow).values(status=MetaLearnerStatus.RETIRED))
    answer = question(made["id"], [encode(1)])
    assert (answer.status_code, answer.json()["code"]) == (410, "meta-learner-retired")


def test_each_adaptation_and_each_question_counts_as_a_prediction(
    database: Database,
    adapt: Ask,
    question: Ask,
    encode: Encode,
    add_meta_learner: AddMetaLearner,
    support: list[tuple[str, bytes]],
) -> None:
    made = adapt(add_meta_learner().id, support).json()
    question(made["id"], [encode(1)])
    question(made["id"], [encode(2), encode(3)])
    with database.read() as session:
        assert session.scalars(select(PredictionCountRow)).one().count == 3


# What to expect.


def test_one_image_a_class_promises_nothing_and_says_why(
    adapt: Ask, question: Ask, encode: Encode, add_meta_learner: AddMetaLearner
) -> None:
    made = adapt(add_meta_learner().id, [("a", encode(1)), ("b", encode(2))]).json()
    outlook = made["outlook"]
    assert (outlook["expected_accuracy"], outlook["interval"]) == (None, None)
    assert "accuracy-not-estimated" in [each["code"] for each in outlook["warnings"]]
    refused = question(made["id"], [encode(1)], coverage="0.5")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["part"] == "coverage"


def test_the_same_images_under_two_labels_are_called_alike_by_name(
    adapt: Ask, encode: Encode, add_meta_learner: AddMetaLearner
) -> None:
    twice = [(name, encode(n)) for n in range(8) for name in ("left", "right")]
    outlook = adapt(add_meta_learner().id, twice).json()["outlook"]
    assert [each["labels"] for each in outlook["alike"]] == [["left", "right"]]
    (message,) = [w["message"] for w in outlook["warnings"] if w["code"] == "classes-alike"]
    assert "'left' and 'right'" in message


def test_abstaining_leaves_the_least_sure_queries_unanswered(
    ask: Ask, encode: Encode, add_meta_learner: AddMetaLearner, support: list[tuple[str, bytes]]
) -> None:
    learner, queries = add_meta_learner().id, [encode(100 + n) for n in range(30)]
    everything = ask(learner, support, queries).json()
    assert everything["abstention"] is None
    assert not any(each["abstained"] for each in everything["predictions"])
    answer = ask(learner, support, queries, coverage="0.5").json()
    threshold = answer["abstention"]["threshold"]
    assert answer["abstention"]["coverage"] == 0.5
    for each in answer["predictions"]:
        assert each["abstained"] == (max(each["probabilities"].values()) < threshold)
    assert sum(each["abstained"] for each in answer["predictions"]) > 0


@pytest.mark.parametrize("coverage", ["0", "1.5", "-1", "nan", "", "0,5", "1e-1"])
def test_a_coverage_that_is_no_share_is_refused(
    ask: Ask,
    encode: Encode,
    add_meta_learner: AddMetaLearner,
    support: list[tuple[str, bytes]],
    coverage: str,
) -> None:
    answer = ask(add_meta_learner().id, support, [encode(1)], coverage=coverage)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["part"] == "coverage"


# What the memory holds.


def adapted(memory_bytes: int) -> Adapted:
    nothing = torch.zeros(0)
    return Adapted(
        class_names=("a", "b"),
        classifier=Classifier(n_way=2, temperature=1.0, image_size=1, channels=1),
        outlook=Outlook(confidence=nothing, right=nothing, alike=(), strangeness=None),
        n_support=2,
        memory_bytes=memory_bytes,
        decode_ms=0,
        adapt_ms=0,
    )


def test_an_adaptation_ends_with_its_time(settings: Settings) -> None:
    clock = [utc_now()]
    kept = Adaptations(settings, now=lambda: clock[0])
    made = kept.keep("org", "ml", adapted(1))
    assert made.expires_at - made.created_at == timedelta(seconds=settings.adaptation_ttl_s)
    clock[0] = made.expires_at - timedelta(seconds=1)
    assert kept.find("org", made.id) is made
    clock[0] = made.expires_at
    with pytest.raises(AdaptationNotFound):
        kept.find("org", made.id)


def test_whoever_fills_the_room_gives_up_what_they_asked_longest_ago(settings: Settings) -> None:
    kept = Adaptations(settings.model_copy(update={"adaptations_bytes": 100}))
    modest = kept.keep("modest", "ml", adapted(30))
    first, second = (kept.keep("greedy", "ml", adapted(30)) for _ in range(2))
    kept.find("greedy", first.id)
    third = kept.keep("greedy", "ml", adapted(30))
    for row in (modest, first, third):
        assert kept.find(row.organisation_id, row.id) is row
    with pytest.raises(AdaptationNotFound):
        kept.find("greedy", second.id)
    huge = kept.keep("modest", "ml", adapted(1000))
    assert kept.find("modest", huge.id) is huge


def test_another_process_does_not_know_it(
    settings: Settings,
    client: TestClient,
    adapt: Ask,
    add_meta_learner: AddMetaLearner,
    support: list[tuple[str, bytes]],
) -> None:
    path = f"/v1/adaptations/{adapt(add_meta_learner().id, support).json()['id']}"
    replica = TestClient(create_app(settings), headers=client.headers)
    answer = replica.get(path)
    assert answer.status_code == 404
    assert "replica" in answer.json()["detail"]
