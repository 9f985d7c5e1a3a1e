"""The map of a pool's tasks over HTTP: who is on it, and who may look."""

from collections.abc import Callable
from typing import Any

import torch
from sqlalchemy import select
from starlette.testclient import TestClient

from ml.fingerprint import LENGTH
from pool.database.fingerprints import FingerprintRow
from pool.database.session import Database
from pool.database.tables import ModelRow
from pool.domain import ModelStatus

AddModel = Callable[..., ModelRow]


def printed(database: Database, model: ModelRow, *, group: int, version: int = 1) -> str:
    """Give a model a fingerprint near its group's."""
    middle = torch.randn(LENGTH, generator=torch.Generator().manual_seed(group))
    own = torch.randn(LENGTH, generator=torch.Generator().manual_seed(hash(model.id) % 2**31))
    vector = torch.nn.functional.normalize(middle + 0.1 * own, dim=0)
    row = FingerprintRow(
        model_id=model.id, version=version, vector=vector.numpy().astype("<f4").tobytes()
    )
    with database.write() as session:
        session.add(row)
    return model.id


def places(client: TestClient) -> dict[str, dict[str, Any]]:
    answer = client.get("/v1/pools/default/task-map")
    assert answer.status_code == 200, answer.text
    return {each["model_id"]: each for each in answer.json()["items"]}


def test_models_of_alike_tasks_lie_near_one_another(
    client: TestClient, database: Database, add_model: AddModel
) -> None:
    groups = {
        group: [printed(database, add_model(), group=group) for _ in range(3)] for group in range(3)
    }
    found = places(client)
    assert len(found) == 9
    points = {name: torch.tensor([each["x"], each["y"]]) for name, each in found.items()}
    within, across = [], []
    for group, members in groups.items():
        for other, strangers in groups.items():
            for a in members:
                distances = [float((points[a] - points[b]).norm()) for b in strangers if a != b]
                (within if group == other else across).extend(distances)
    assert max(within) < min(across)


def test_models_without_a_place_are_counted_not_shown(
    client: TestClient, database: Database, add_model: AddModel
) -> None:
    shown = printed(database, add_model(), group=0)
    printed(database, add_model(ModelStatus.WITHDRAWN), group=0)
    add_model()
    answer = client.get("/v1/pools/default/task-map").json()
    assert [each["model_id"] for each in answer["items"]] == [shown]
    assert answer["models_ready"] == 2


def test_fingerprints_of_an_older_version_are_not_compared_with_new_ones(
    client: TestClient, database: Database, add_model: AddModel
) -> None:
    printed(database, add_model(), group=0, version=1)
    new = printed(database, add_model(), group=0, version=2)
    assert list(places(client)) == [new]


def test_an_empty_pool_has_an_empty_map(client: TestClient) -> None:
    assert client.get("/v1/pools/default/task-map").json() == {
        "items": [],
        "models_ready": 0,
        "kept": 1.0,
    }


def test_a_withdrawn_models_fingerprint_is_deleted(
    client: TestClient, database: Database, add_model: AddModel
) -> None:
    model = printed(database, add_model(), group=0)
    assert client.delete(f"/v1/models/{model}").status_code == 200
    with database.read() as session:
        assert session.scalars(select(FingerprintRow)).all() == []
