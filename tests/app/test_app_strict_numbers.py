"""Truth is no number: what JSON calls true and false is not taken for 1 and 0."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from pool.database.tables import ModelRow


@pytest.mark.parametrize("truth", [True, False])
def test_a_truth_where_a_number_belongs_is_refused(
    client: TestClient,
    manifest: dict[str, Any],
    add_model: Callable[..., ModelRow],
    truth: bool,
) -> None:
    add_model()
    add_model()
    key = client.post("/v1/keys", json={"name": "k", "scopes": ["predict"]}).json()["id"]
    wrong = manifest | {"dp_epsilon": truth}
    for path, body in (
        ("/v1/builds", {"seed": truth}),
        (f"/v1/keys/{key}/rotate", {"overlap_s": truth}),
        ("/v1/uploads", {"manifest": manifest, "size_bytes": truth}),
        ("/v1/uploads", {"manifest": wrong, "size_bytes": 4}),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input"), path
