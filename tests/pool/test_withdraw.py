"""A withdrawn model's bytes are gone, and what used it knows."""

import io
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import update

from pool.database import repository
from pool.database.session import Database
from pool.database.tables import BuildRow, JobRow, MetaLearnerRow, ModelRow
from pool.domain import JobStatus, MetaLearnerStatus, ModelStatus
from pool.errors import ModelInUse, ModelNotFound, StorageUnavailable
from pool.storage.directory import DirectoryStore
from pool.storage.store import ObjectStore, meta_learner_key, model_key, quarantine_key
from pool.usecases.inspect import accept_model, begin_inspection
from pool.usecases.orphans import delete_orphans
from pool.usecases.withdraw import withdraw_model

AddModel = Callable[..., ModelRow]
OrderBuild = Callable[..., str]
AddMetaLearner = Callable[[str], MetaLearnerRow]
HOOK_S = 1.0


def stored(store: DirectoryStore, key: str) -> str:
    store.put(key, io.BytesIO(b"weights"), 7)
    return key


def withdraw(
    database: Database, store: ObjectStore, organisation_id: str, model_id: str
) -> ModelRow:
    with database.write() as session:
        return withdraw_model(session, store, organisation_id, model_id)


@pytest.mark.parametrize(
    "status", [ModelStatus.RECEIVED, ModelStatus.INSPECTING, ModelStatus.READY]
)
def test_a_withdrawn_models_bytes_are_gone_and_its_record_stays(
    database: Database,
    store: DirectoryStore,
    organisation_id: str,
    add_model: AddModel,
    status: ModelStatus,
) -> None:
    others = add_model(object_key=stored(store, "models/others.safetensors"))
    model = add_model(status, object_key=stored(store, "models/mine.safetensors"))
    withdraw(database, store, organisation_id, model.id)
    with database.read() as session:
        row = repository.find_model(session, organisation_id, model.id)
    assert (row.status, row.object_key) == (ModelStatus.WITHDRAWN, None)
    assert list(store.keys("")) == [others.object_key]


@pytest.mark.parametrize("status", [ModelStatus.REJECTED, ModelStatus.WITHDRAWN])
def test_what_is_gone_cannot_be_withdrawn(
    database: Database,
    store: DirectoryStore,
    organisation_id: str,
    add_model: AddModel,
    status: ModelStatus,
) -> None:
    model = add_model(status)
    with pytest.raises(ModelInUse, match=f"is {status}"):
        withdraw(database, store, organisation_id, model.id)


def test_another_organisations_model_cannot_be_withdrawn(
    database: Database, store: DirectoryStore, add_model: AddModel
) -> None:
    model = add_model(object_key=stored(store, "models/x.safetensors"))
    with pytest.raises(ModelNotFound):
        withdraw(database, store, "org_other", model.id)
    assert list(store.keys("")) == [model.object_key]


def test_a_withdrawal_cancels_the_builds_over_the_model_and_no_others(
    database: Database,
    store: DirectoryStore,
    organisation_id: str,
    add_model: AddModel,
    order_build: OrderBuild,
) -> None:
    mine, other, third = (add_model() for _ in range(3))
    queued, running, unrelated = (
        order_build(mine.id, other.id),
        order_build(other.id, mine.id),
        order_build(other.id, third.id),
    )
    with database.write() as session:
        job = repository.find_build(session, organisation_id, running).job
        job.status, job.holder = JobStatus.RUNNING, "run_a"

    withdraw(database, store, organisation_id, mine.id)

    with database.read() as session:
        found = {
            build_id: repository.find_build(session, organisation_id, build_id).job
            for build_id in (queued, running, unrelated)
        }
    assert [found[each].status for each in (queued, running, unrelated)] == [
        JobStatus.CANCELED,
        JobStatus.CANCELED,
        JobStatus.QUEUED,
    ]


def test_a_withdrawal_taints_what_learnt_from_the_model_and_nothing_else(
    database: Database,
    store: DirectoryStore,
    organisation_id: str,
    add_model: AddModel,
    order_build: OrderBuild,
    add_meta_learner: AddMetaLearner,
) -> None:
    mine, other, third = (add_model() for _ in range(3))
    learnt = add_meta_learner(order_build(mine.id, other.id))
    retired = add_meta_learner(order_build(mine.id, third.id))
    innocent = add_meta_learner(order_build(other.id, third.id))
    with database.write() as session:
        session.execute(update(JobRow).values(status=JobStatus.SUCCEEDED))
        session.execute(
            update(MetaLearnerRow)
            .where(MetaLearnerRow.id == retired.id)
            .values(status=MetaLearnerStatus.RETIRED)
        )

    withdraw(database, store, organisation_id, mine.id)

    with database.read() as session:
        statuses = [
            repository.find_meta_learner(session, organisation_id, each.id).status
            for each in (learnt, retired, innocent)
        ]
    assert statuses == [
        MetaLearnerStatus.TAINTED,
        MetaLearnerStatus.RETIRED,
        MetaLearnerStatus.ACTIVE,
    ]


def test_a_withdrawal_retires_an_ensemble_and_deletes_the_weights_it_holds(
    database: Database,
    store: DirectoryStore,
    organisation_id: str,
    add_model: AddModel,
    order_build: OrderBuild,
    add_meta_learner: AddMetaLearner,
) -> None:
    mine, other, third = (add_model() for _ in range(3))
    holding = add_meta_learner(order_build(mine.id, other.id))
    innocent = add_meta_learner(order_build(other.id, third.id))
    with database.write() as session:
        session.execute(update(JobRow).values(status=JobStatus.SUCCEEDED))
        for each in (holding, innocent):
            key = stored(store, f"meta-learners/{each.id}.safetensors")
            session.execute(
                update(MetaLearnerRow)
                .where(MetaLearnerRow.id == each.id)
                .values(backbone="ensemble", object_key=key)
            )

    withdraw(database, store, organisation_id, mine.id)

    with database.read() as session:
        statuses = [
            repository.find_meta_learner(session, organisation_id, each.id).status
            for each in (holding, innocent)
        ]
    assert statuses == [MetaLearnerStatus.RETIRED, MetaLearnerStatus.ACTIVE]
    kept = [key for key in store.keys("") if key.startswith("meta-learners/")]
    assert kept == [f"meta-learners/{innocent.id}.safetensors"]


def test_a_store_that_is_away_leaves_everything_as_it_was(
    database: Database,
    store: DirectoryStore,
    organisation_id: str,
    add_model: AddModel,
    order_build: OrderBuild,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, other = add_model(object_key=stored(store, "models/x.safetensors")), add_model()
    build_id = order_build(model.id, other.id)

    def away() -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(store, "ping", away)
    with pytest.raises(StorageUnavailable):
        withdraw(database, store, organisation_id, model.id)
    with database.read() as session:
        row = repository.find_model(session, organisation_id, model.id)
        build = session.get_one(BuildRow, build_id)
    assert (row.status, row.object_key) == (ModelStatus.READY, model.object_key)
    assert build.job.status == JobStatus.QUEUED
    assert list(store.keys("")) == [model.object_key]


def test_bytes_stay_until_the_withdrawal_is_committed(
    database: Database, store: DirectoryStore, organisation_id: str, add_model: AddModel
) -> None:
    model = add_model(object_key=stored(store, "models/x.safetensors"))

    def withdraw_and_break() -> None:
        with database.write() as session:
            withdraw_model(session, store, organisation_id, model.id)
            raise RuntimeError("the database went away before the commit")

    with pytest.raises(RuntimeError):
        withdraw_and_break()
    assert list(store.keys("")) == [model.object_key]
    with database.read() as session:
        row = repository.find_model(session, organisation_id, model.id)
    assert (row.status, row.object_key) == (ModelStatus.READY, model.object_key)


def test_what_a_withdrawal_could_not_delete_goes_with_the_orphans(
    database: Database,
    store: DirectoryStore,
    organisation_id: str,
    add_model: AddModel,
    order_build: OrderBuild,
    add_meta_learner: AddMetaLearner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, other = add_model(), add_model()
    build_id = order_build(model.id, other.id)
    learner = add_meta_learner(build_id)
    key = stored(store, meta_learner_key(build_id, learner.id))
    with database.write() as session:
        session.execute(update(JobRow).values(status=JobStatus.SUCCEEDED))
        session.get_one(ModelRow, model.id).object_key = stored(store, model_key(model.id))
        found = session.get_one(MetaLearnerRow, learner.id)
        found.backbone, found.object_key = "ensemble", key

    def away(_key: str) -> None:
        raise StorageUnavailable("away")

    with monkeypatch.context() as outage:
        outage.setattr(store, "delete", away)
        withdraw(database, store, organisation_id, model.id)
    assert len(list(store.keys(""))) == 2
    assert delete_orphans(database, store) == 2
    assert list(store.keys("")) == []


def test_an_inspection_that_ends_during_a_withdrawal_leaves_no_bytes_behind(
    database: Database,
    store: DirectoryStore,
    organisation_id: str,
    add_model: AddModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = add_model(ModelStatus.INSPECTING)
    with database.write() as session:
        session.execute(update(ModelRow).values(object_key=quarantine_key(model.id)))
    canonical = stored(store, model_key(model.id))
    stored(store, quarantine_key(model.id))
    delete = store.delete

    def inspect_to_the_end() -> None:
        """As the worker does: accept, or delete what was stored when the model is gone."""
        with database.write() as session:
            kept = accept_model(
                session,
                model.id,
                object_key=canonical,
                canonical_sha256="0" * 64,
                source_format="safetensors",
                n_parameters=1,
            )
        if not kept:
            delete(canonical)

    inspector = threading.Thread(target=inspect_to_the_end)

    def delete_while_the_inspector_ends(key: str) -> None:
        if not inspector.ident:
            inspector.start()
            inspector.join(HOOK_S)
        delete(key)

    monkeypatch.setattr(store, "delete", delete_while_the_inspector_ends)
    withdraw(database, store, organisation_id, model.id)
    inspector.join()

    with database.read() as session:
        row = repository.find_model(session, organisation_id, model.id)
    assert row.status == ModelStatus.WITHDRAWN
    assert list(store.keys("")) == []


def test_a_withdrawn_model_cannot_be_inspected_or_accepted(
    database: Database, store: DirectoryStore, organisation_id: str, add_model: AddModel
) -> None:
    model = add_model(ModelStatus.RECEIVED)
    withdraw(database, store, organisation_id, model.id)
    with database.write() as session:
        assert begin_inspection(session, model.id) is None
        assert not accept_model(
            session,
            model.id,
            object_key="k",
            canonical_sha256="0" * 64,
            source_format="safetensors",
            n_parameters=1,
        )
