"""The inspection job: what it keeps, what it refuses, what it leaves behind."""

import json
import pickle  # noqa: TID251  # to forge a hostile upload
from pathlib import Path

import pytest
import torch
from factories import claim_next, model_now, small_checkpoint, small_manifest, upload
from safetensors.torch import load_file
from sqlalchemy import select

from ml import checkpoints
from ml.fingerprint import LENGTH, VERSION
from pool.airlock import Refused
from pool.database.fingerprints import FingerprintRow
from pool.domain import JobKind, JobStatus, ModelStatus
from pool.storage.store import model_key, quarantine_key
from pool.usecases.withdraw import withdraw_model
from worker.context import JobContext, TryAgain
from worker.jobs import inspect
from worker.teachers import file_sha256, manifest_of


def run_inspection(context: JobContext) -> None:
    inspect.inspect_model(context, claim_next(context.database, JobKind.INSPECT))


def stored_keys(context: JobContext) -> set[str]:
    return set(context.store.keys(""))


def test_an_honest_upload_becomes_ready_and_only_its_canonical_weights_are_kept(
    context: JobContext, tmp_path: Path
) -> None:
    data = small_checkpoint()
    model = upload(context.database, context.store, data, small_manifest())
    assert stored_keys(context) == {quarantine_key(model.id)}

    run_inspection(context)

    now = model_now(context.database, model.id)
    assert (now.status, now.reason) == (ModelStatus.READY, None)
    assert stored_keys(context) == {model_key(model.id)}
    kept = tmp_path / "kept.safetensors"
    context.store.fetch(model_key(model.id), kept)
    assert file_sha256(kept) == now.canonical_sha256
    assert sum(t.numel() for t in load_file(kept).values()) == now.n_parameters


def test_a_model_that_becomes_ready_has_a_fingerprint_and_a_refused_one_has_none(
    context: JobContext,
) -> None:
    good = upload(context.database, context.store, small_checkpoint(), small_manifest())
    run_inspection(context)
    upload(context.database, context.store, b"nothing", small_manifest())
    run_inspection(context)
    with context.database.read() as session:
        (kept,) = session.scalars(select(FingerprintRow)).all()
    assert (kept.model_id, kept.version) == (good.id, VERSION)
    vector = torch.frombuffer(bytearray(kept.vector), dtype=torch.float32)
    assert vector.shape == (LENGTH,)
    assert float(vector.norm()) == pytest.approx(1, abs=1e-5)


def test_a_model_that_becomes_ready_has_a_reliability_and_random_weights_a_doubtful_one(
    context: JobContext,
) -> None:
    good = upload(context.database, context.store, small_checkpoint(), small_manifest())
    assert model_now(context.database, good.id).reliability is None
    run_inspection(context)
    bad = upload(context.database, context.store, b"nothing", small_manifest())
    run_inspection(context)
    kept = model_now(context.database, good.id).reliability
    assert kept is not None
    assert 0 <= kept < 0.5
    assert model_now(context.database, bad.id).reliability is None


def test_a_manifest_that_names_more_classes_than_the_head_has_is_refused_and_nothing_is_kept(
    context: JobContext,
) -> None:
    manifest = small_manifest(n_classes=5)
    model = upload(context.database, context.store, small_checkpoint(n_classes=3), manifest)

    run_inspection(context)

    now = model_now(context.database, model.id)
    assert now.status == ModelStatus.REJECTED
    assert now.reason_code == "checkpoint-mismatch"
    assert now.reason is not None
    assert "3" in now.reason
    assert "5" in now.reason
    assert now.recipe
    assert stored_keys(context) == set()


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_a_pickle_that_would_run_code_is_refused_without_running_it(
    context: JobContext, tmp_path: Path
) -> None:
    marker = tmp_path / "executed"
    data = pickle.dumps({"w": _Bomb(str(marker))})
    model = upload(context.database, context.store, data, small_manifest())

    run_inspection(context)

    now = model_now(context.database, model.id)
    assert now.status == ModelStatus.REJECTED
    assert now.recipe
    assert not marker.exists()
    assert stored_keys(context) == set()


def test_a_model_withdrawn_while_it_is_inspected_stays_withdrawn_and_leaves_no_bytes(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = upload(context.database, context.store, small_checkpoint(), small_manifest())
    examine = inspect.examine

    def withdraw_meanwhile(*args: object) -> object:
        verdict = examine(*args)  # type: ignore[arg-type]
        with context.database.write() as session:
            withdraw_model(session, context.store, model.organisation_id, model.id)
        return verdict

    monkeypatch.setattr(inspect, "examine", withdraw_meanwhile)
    run_inspection(context)

    assert model_now(context.database, model.id).status == ModelStatus.WITHDRAWN
    assert stored_keys(context) == set()


def test_infinite_logits_on_noise_are_refused(context: JobContext) -> None:
    from safetensors.torch import load, save

    tensors = load(small_checkpoint())
    tensors["classifier.weight"] = tensors["classifier.weight"] * 0 + 3e38
    model = upload(context.database, context.store, save(tensors), small_manifest())

    run_inspection(context)

    assert model_now(context.database, model.id).reason_code == "non-finite-output"


def test_every_honest_form_of_a_real_checkpoint_is_accepted_and_predicts_as_the_original(
    context: JobContext, shared: Path, tmp_path: Path
) -> None:
    forms = sorted((shared / "pools" / "other_forms").glob("*.p*"))
    manifest = json.loads((shared / "pools" / "other_forms" / "manifest.json").read_text())
    assert len(forms) == 6
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(8, 3, 32, 32, generator=rng)
    for form in forms:
        model = upload(context.database, context.store, form.read_bytes(), manifest)
        run_inspection(context)
        now = model_now(context.database, model.id)
        assert now.status == ModelStatus.READY, (form.name, now.reason)
        kept = tmp_path / f"{model.id}.safetensors"
        context.store.fetch(model_key(model.id), kept)
        teacher = checkpoints.load_teacher(kept, manifest_of(now))
        expected = _reference_logits(form, images, manifest["normalization"])
        torch.testing.assert_close(teacher.logits(images), expected, rtol=1e-4, atol=1e-4)


def _reference_logits(
    form: Path, images: torch.Tensor, normalization: dict[str, list[float]]
) -> torch.Tensor:
    """The four blocks and the head by hand, from the tensors as torch itself reads them."""
    loaded = torch.load(form, weights_only=True)  # noqa: TID251  # the independent reference
    for key in ("model_state_dict", "teacher", "state_dict"):
        loaded = loaded.get(key, loaded)
    unique: list[torch.Tensor] = []
    pointers: set[tuple[int, int]] = set()
    for tensor in loaded.values():
        if tensor.is_floating_point() and (tensor.data_ptr(), tensor.numel()) not in pointers:
            pointers.add((tensor.data_ptr(), tensor.numel()))
            unique.append(tensor.float())
    mean = torch.tensor(normalization["mean"]).view(1, -1, 1, 1)
    std = torch.tensor(normalization["std"]).view(1, -1, 1, 1)
    x = (images - mean) / std
    for block in range(4):
        weight, bias, gamma, beta, running_mean, running_var = unique[6 * block : 6 * block + 6]
        x = torch.nn.functional.conv2d(x, weight, bias, padding=1)
        x = torch.nn.functional.batch_norm(x, running_mean, running_var, gamma, beta)
        x = torch.nn.functional.max_pool2d(x.relu(), 2)
    return torch.nn.functional.linear(x.flatten(1), unique[24], unique[25])


def test_a_finished_inspection_is_recorded_on_its_job(context: JobContext) -> None:
    from pool.database.tables import JobRow

    model = upload(context.database, context.store, small_checkpoint(), small_manifest())
    run_inspection(context)
    with context.database.read() as session:
        job = session.query(JobRow).filter_by(subject_id=model.id).one()
    assert (job.status, job.holder, job.progress) == (JobStatus.SUCCEEDED, None, 1.0)


def test_a_fault_of_the_airlock_itself_leaves_the_model_for_another_attempt(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = upload(context.database, context.store, small_checkpoint(), small_manifest())

    def fail(*_: object, **__: object) -> None:
        raise Refused(code="airlock-fault", reason="no room", recipe="tell the operator")

    monkeypatch.setattr(inspect, "convert_in_sandbox", fail)
    with pytest.raises(TryAgain):
        run_inspection(context)
    assert model_now(context.database, model.id).status == ModelStatus.INSPECTING
    assert stored_keys(context) == {quarantine_key(model.id)}
