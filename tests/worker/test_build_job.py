"""The build job, in this process: what it delivers and how it fails."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from factories import QUICK_FREE, build_now, claim_next, order_build

from ml.delivered import load_delivered
from ml.ensemble import EnsembleLearner
from ml.learner import load_meta_learner
from ml.reporting.candidates import BASELINES
from ml.types import Progress
from pool.database import jobs, repository
from pool.database.tables import BuildRow
from pool.domain import JobKind, JobStatus
from pool.errors import LeaseLost, ObjectMissing
from pool.storage.store import build_state_key, meta_learner_key, model_key
from worker.context import Canceled, JobContext
from worker.jobs import build
from worker.progress import ProgressLog
from worker.teachers import file_sha256, load_teachers

MakeModels = Callable[[int], list[str]]


def test_a_build_delivers_a_loadable_meta_learner_with_its_lineage(
    context: JobContext, ready_models: MakeModels, tmp_path: Path
) -> None:
    model_ids = ready_models(3)
    order = order_build(context.database)

    build.build_meta_learner(context, claim_next(context.database, JobKind.BUILD))

    done = build_now(context.database, order.id)
    assert (done.job.status, done.job.progress) == (JobStatus.SUCCEEDED, 1.0)
    assert done.meta_learner_id is not None
    with context.database.read() as session:
        learner = repository.find_meta_learner(session, done.organisation_id, done.meta_learner_id)
        assert sorted(each.model_id for each in learner.build.snapshot) == sorted(model_ids)
    path = tmp_path / "learner.safetensors"
    context.store.fetch(meta_learner_key(order.id, learner.id), path)
    assert file_sha256(path) == learner.sha256
    assert load_meta_learner(path).image_size == 16
    assert build_state_key(order.id) not in set(context.store.keys(""))
    assert learner.report["estimate"]["kind"] == "recovered"
    assert [each["name"] for each in learner.report["baselines"]] == [*BASELINES]
    with context.database.read() as session:
        events = jobs.events_after(session, done.job_id, 0, limit=999)
    stages = [event.payload["stage"] for event in events if event.kind == "progress"]
    assert stages[-1] == "report"


def test_an_ensemble_is_delivered_with_its_lineage_and_a_record_of_what_it_takes(
    context: JobContext, ready_models: MakeModels, tmp_path: Path
) -> None:
    model_ids = ready_models(2)
    order = order_build(context.database, {"teachers_asked": 3}, algorithm="ensemble")
    build.build_meta_learner(context, claim_next(context.database, JobKind.BUILD))

    done = build_now(context.database, order.id)
    assert (done.job.status, done.job.progress) == (JobStatus.SUCCEEDED, 1.0)
    with context.database.read() as session:
        row = repository.find_meta_learner(
            session, done.organisation_id, done.meta_learner_id or ""
        )
        assert sorted(each.model_id for each in row.build.snapshot) == sorted(model_ids)
    assert (row.backbone, row.image_size, row.channels) == ("ensemble", 16, 1)
    assert (row.report["n_teachers"], row.report["steps"]) == (2, 1)
    path = tmp_path / "ensemble.safetensors"
    context.store.fetch(meta_learner_key(order.id, row.id), path)
    learner = load_delivered(path)
    assert isinstance(learner, EnsembleLearner)
    assert (len(learner.members), learner.teachers_asked) == (2, 3)


def test_teachers_lie_on_the_device_that_the_build_computes_on(
    context: JobContext, ready_models: MakeModels, tmp_path: Path
) -> None:
    """On "meta", a device every machine has."""
    ready_models(2)
    order = order_build(context.database)
    with context.database.read() as session:
        snapshot = session.get_one(BuildRow, order.id).snapshot
        teachers = load_teachers(snapshot, context.store, tmp_path, torch.device("meta"))
    devices = {p.device.type for teacher in teachers for p in teacher.module.parameters()}
    assert (len(teachers), devices) == (2, {"meta"})


def test_two_builds_with_one_seed_deliver_the_same_bytes(
    context: JobContext, ready_models: MakeModels
) -> None:
    ready_models(2)
    hashes = []
    for _ in range(2):
        order = order_build(context.database, seed=7)
        build.build_meta_learner(context, claim_next(context.database, JobKind.BUILD))
        learner_id = build_now(context.database, order.id).meta_learner_id
        with context.database.read() as session:
            row = repository.find_meta_learner(session, order.organisation_id, learner_id or "")
            hashes.append(row.sha256)
    assert hashes[0] == hashes[1]


def test_weights_that_changed_since_the_snapshot_stop_the_build(
    context: JobContext, ready_models: MakeModels, tmp_path: Path
) -> None:
    first, second = ready_models(2)
    order_build(context.database)
    path = tmp_path / "swapped"
    context.store.fetch(model_key(second), path)
    with path.open("rb") as stream:
        context.store.put(model_key(first), stream, path.stat().st_size)
    with pytest.raises(ObjectMissing, match=first):
        build.build_meta_learner(context, claim_next(context.database, JobKind.BUILD))


def test_a_pool_that_the_algorithm_cannot_use_fails_the_build_with_the_reason(
    context: JobContext, ready_models: MakeModels
) -> None:
    ready_models(2)
    order = order_build(context.database, QUICK_FREE | {"channels": 3, "image_size": 8})
    build.build_meta_learner(context, claim_next(context.database, JobKind.BUILD))
    done = build_now(context.database, order.id)
    assert done.job.status == JobStatus.FAILED
    assert done.job.error_code == "cannot-be-built"
    assert done.job.error


def test_a_report_that_breaks_down_costs_the_build_nothing_but_the_report(
    context: JobContext, ready_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("a message that may quote what it should not")

    monkeypatch.setattr(build, "make_report", break_down)
    ready_models(2)
    order = order_build(context.database, {}, algorithm="ensemble")
    build.build_meta_learner(context, claim_next(context.database, JobKind.BUILD))
    done = build_now(context.database, order.id)
    assert done.job.status == JobStatus.SUCCEEDED
    with context.database.read() as session:
        row = repository.find_meta_learner(
            session, done.organisation_id, done.meta_learner_id or ""
        )
    assert row.report["estimate"] is None
    assert [each["code"] for each in row.report["warnings"]] == ["not-estimated"]
    assert "quote" not in str(row.report)


def test_a_run_that_lost_its_lease_delivers_nothing(
    context: JobContext, ready_models: MakeModels
) -> None:
    ready_models(2)
    order = order_build(context.database)
    run = claim_next(context.database, JobKind.BUILD)
    with context.database.write() as session:
        for job in jobs.held_by(session, run.holder):
            jobs.abandon(session, job, max_attempts=5, why="test")
    with pytest.raises(LeaseLost):
        build.build_meta_learner(context, run)
    assert build_now(context.database, order.id).meta_learner_id is None
    assert not [key for key in context.store.keys("") if key.startswith("meta-learners/")]


def test_progress_writes_a_changed_stage_and_an_eta_from_the_speed_since_the_first_report(
    context: JobContext, ready_models: MakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_models(2)
    order = order_build(context.database)
    run = claim_next(context.database, JobKind.BUILD)
    now = [100.0]
    monkeypatch.setattr("worker.progress.time.monotonic", lambda: now[0])
    log = ProgressLog(context, run)
    now[0] += 30  # models are loaded
    log(Progress(stage="a", step=50, total_steps=100, fraction=0.5))
    now[0] += 10
    log(Progress(stage="a", step=60, total_steps=100, fraction=0.6, metrics={"loss": 1.5}))
    now[0] += 0.1
    log(Progress(stage="a", step=61, total_steps=100, fraction=0.61))
    with context.database.read() as session:
        events = list(jobs.events_after(session, run.job_id, 0, limit=99))
    points = [event.payload for event in events if event.kind == "progress"]
    # A resumed run starts at one half: 10 s for a tenth of the work leaves 40 s for the rest.
    assert [point["step"] for point in points] == [50, 60]
    assert points[1]["eta_s"] == pytest.approx(40.0)
    assert points[1]["metrics"] == {"loss": 1.5}
    assert build_now(context.database, order.id).job.progress == pytest.approx(0.6)


def test_a_stop_is_noticed_at_the_next_step(context: JobContext, ready_models: MakeModels) -> None:
    ready_models(2)
    order_build(context.database)
    run = claim_next(context.database, JobKind.BUILD)
    context.stop.set()
    with pytest.raises(Canceled):
        ProgressLog(context, run)(Progress(stage="a", step=1, total_steps=2, fraction=0.5))


def test_auto_means_cuda_only_where_there_is_one() -> None:
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert build.choose_device("auto").type == wanted
    assert build.choose_device("cpu").type == "cpu"
