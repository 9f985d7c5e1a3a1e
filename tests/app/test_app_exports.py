"""Meta-learners and adaptations taken along over HTTP answer as the server does."""

import importlib.util
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime
import pytest
import torch
from sqlalchemy import select
from starlette.testclient import TestClient

from ml.fewshot import decode_image
from pool.database.audit import Act
from pool.database.audit_tables import AuditEventRow
from pool.database.session import Database
from pool.database.tables import MetaLearnerRow

Ask = Callable[..., Any]
Encode = Callable[..., bytes]
AddMetaLearner = Callable[..., MetaLearnerRow]
SIDE = 16


@pytest.fixture
def support(encode: Encode) -> list[tuple[str, bytes]]:
    """Three classes of two images."""
    return [(f"class {n % 3}", encode(n)) for n in range(6)]


def tensors(images: list[bytes]) -> torch.Tensor:
    return torch.stack([decode_image(image, size=SIDE, channels=1) for image in images])


def expected(answer: Any) -> torch.Tensor:
    return torch.tensor([list(p["probabilities"].values()) for p in answer.json()["predictions"]])


def unpacked(data: bytes, into: Path) -> ModuleType:
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        packed.extractall(into)
    spec = importlib.util.spec_from_file_location("taken_along", into / "predict.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_exported_meta_learner_answers_as_the_server_does(
    client: TestClient,
    ask: Ask,
    encode: Encode,
    add_meta_learner: AddMetaLearner,
    support: list[tuple[str, bytes]],
    tmp_path: Path,
) -> None:
    learner, queries = add_meta_learner().id, [encode(50 + n) for n in range(4)]
    served = expected(ask(learner, support, queries))
    shown = tensors([image for _, image in support])
    labels = torch.tensor([n % 3 for n in range(6)])
    packed = client.get(f"/v1/meta-learners/{learner}/export")
    assert packed.status_code == 200, packed.text
    assert packed.headers["content-type"] == "application/zip"
    assert packed.headers["content-disposition"] == f'attachment; filename="{learner}.zip"'
    script = unpacked(packed.content, tmp_path)
    found = script.predict(
        script.load(tmp_path / "learner.safetensors"), tensors(queries), shown, labels
    )
    torch.testing.assert_close(found, served, atol=1e-4, rtol=1e-3)
    onnx_file = client.get(f"/v1/meta-learners/{learner}/export?format=onnx").content
    (rows,) = onnxruntime.InferenceSession(onnx_file).run(
        None,
        {"support": shown.numpy(), "labels": labels.numpy(), "queries": tensors(queries).numpy()},
    )
    torch.testing.assert_close(torch.from_numpy(rows), served, atol=1e-4, rtol=1e-3)


def test_an_exported_adaptation_has_its_classes_and_answers_as_the_server_does(
    client: TestClient,
    encode: Encode,
    add_meta_learner: AddMetaLearner,
    support: list[tuple[str, bytes]],
    tmp_path: Path,
) -> None:
    made = client.post(
        f"/v1/meta-learners/{add_meta_learner().id}/adaptations",
        data={"labels": [label for label, _ in support]},
        files=[("support", ("s", image)) for _, image in support],
    ).json()
    queries = [encode(50 + n) for n in range(4)]
    path = f"/v1/adaptations/{made['id']}"
    files = [("query", ("q", image)) for image in queries]
    served = expected(client.post(f"{path}/predictions", files=files))
    script = unpacked(client.get(f"{path}/export").content, tmp_path)
    learner = script.load(tmp_path / "learner.safetensors")
    assert learner["classes"] == ["class 0", "class 1", "class 2"]
    found = script.predict(learner, tensors(queries))
    torch.testing.assert_close(found, served, atol=1e-4, rtol=1e-3)
    session = onnxruntime.InferenceSession(client.get(f"{path}/export?format=onnx").content)
    (rows,) = session.run(None, {"queries": tensors(queries).numpy()})
    torch.testing.assert_close(torch.from_numpy(rows), served, atol=1e-4, rtol=1e-3)


def test_every_export_is_on_record_and_a_refused_one_is_not(
    client: TestClient,
    database: Database,
    add_meta_learner: AddMetaLearner,
    ensemble_file: Path,
) -> None:
    learner = add_meta_learner().id
    ensemble = add_meta_learner(file=ensemble_file, backbone="ensemble").id
    client.get(f"/v1/meta-learners/{learner}/export")
    refused = client.get(f"/v1/meta-learners/{ensemble}/export")
    assert (refused.status_code, refused.json()["code"]) == (409, "not-exportable")
    assert "own models" in refused.json()["detail"]
    with database.read() as session:
        wanted = AuditEventRow.action == Act.META_LEARNER_EXPORTED
        assert session.scalars(select(AuditEventRow.object_id).where(wanted)).all() == [learner]


def test_an_unknown_format_is_refused_with_the_known_ones(
    client: TestClient, add_meta_learner: AddMetaLearner
) -> None:
    answer = client.get(f"/v1/meta-learners/{add_meta_learner().id}/export?format=pickle")
    assert answer.status_code == 422
    assert "onnx" in answer.text
