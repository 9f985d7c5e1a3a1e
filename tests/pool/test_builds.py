"""A build is ordered over a snapshot of ready models, or refused with the reason."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import BuildModelRow, BuildRow, JobRow, ModelRow
from pool.domain import JobKind, JobStatus, ModelStatus, Recipe, utc_now
from pool.errors import BuildFinished, BuildNotFound, ModelNotFound, NoUsableModels, PoolNotFound
from pool.usecases import build as build_usecase
from pool.usecases.build import cancel_build, start_build
from pool.usecases.pools import create_pool

AddModel = Callable[..., ModelRow]
Order = Callable[..., BuildRow]


@pytest.fixture
def order(database: Database, organisation_id: str) -> Order:
    """Order a build; the row, as it was committed."""

    def start(**values: Any) -> BuildRow:
        options = {
            "pool_name": "default",
            "recipe": Recipe(algorithm="free", config={"n_way": 3}),
            "model_ids": None,
            "seed": None,
        } | values
        with database.write() as session:
            return start_build(session, organisation_id, **options)

    return start


def snapshot_of(database: Database, build_id: str) -> list[tuple[int, str, str]]:
    with database.read() as session:
        rows = session.scalars(
            select(BuildModelRow)
            .where(BuildModelRow.build_id == build_id)
            .order_by(BuildModelRow.position)
        )
        return [(row.position, row.model_id, row.canonical_sha256) for row in rows]


def test_a_build_takes_the_pools_ready_models_in_an_order_of_content_not_of_arrival(
    database: Database, add_model: AddModel, order: Order
) -> None:
    now = utc_now()
    newer = add_model(created_at=now, canonical_sha256="a" * 64)
    older = add_model(created_at=now - timedelta(hours=1), canonical_sha256="b" * 64)
    for status in (ModelStatus.RECEIVED, ModelStatus.REJECTED, ModelStatus.WITHDRAWN):
        add_model(status)
    build = order()
    assert snapshot_of(database, build.id) == [
        (0, newer.id, newer.canonical_sha256),
        (1, older.id, older.canonical_sha256),
    ]


def test_a_build_takes_the_models_named_each_once_in_the_same_order_of_content(
    database: Database, add_model: AddModel, order: Order
) -> None:
    first, second, _unnamed = (add_model(canonical_sha256=digit * 64) for digit in "abc")
    build = order(model_ids=[second.id, first.id, second.id])
    assert [model_id for _, model_id, _ in snapshot_of(database, build.id)] == [
        first.id,
        second.id,
    ]


def test_of_a_larger_pool_the_seed_draws_as_many_models_as_a_build_takes(
    database: Database, add_model: AddModel, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_usecase, "MOST_MODELS", 5)
    models = [add_model() for _ in range(12)]
    for status in (ModelStatus.RECEIVED, ModelStatus.REJECTED, ModelStatus.WITHDRAWN):
        add_model(status)

    def drawn(seed: int | None) -> list[str]:
        return [model_id for _, model_id, _ in snapshot_of(database, order(seed=seed).id)]

    draws = [drawn(seed) for seed in range(40)]
    assert all(len(set(each)) == 5 for each in draws)
    assert {model_id for each in draws for model_id in each} == {model.id for model in models}
    assert draws == [drawn(seed) for seed in range(40)]
    content = {model.id: model.canonical_sha256 for model in models}
    assert all(each == sorted(each, key=content.__getitem__) for each in draws)
    named = order(model_ids=[model.id for model in models])
    with database.read() as session:
        assert session.get_one(BuildRow, named.id).n_models == 12


def test_a_pool_of_just_as_many_models_as_a_build_takes_is_used_whole(
    database: Database, add_model: AddModel, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_usecase, "MOST_MODELS", 5)
    ids = {add_model().id for _ in range(5)}
    assert {model_id for _, model_id, _ in snapshot_of(database, order().id)} == ids


def test_a_build_is_queued_and_its_message_sent(
    add_model: AddModel,
    order: Order,
    job_of: Callable[[str], JobRow],
    sent: list[tuple[str, str]],
) -> None:
    add_model(), add_model()
    build = order(seed=7)
    job = job_of(build.id)
    assert (job.kind, job.status, build.job_id) == (JobKind.BUILD, JobStatus.QUEUED, job.id)
    assert sent == [(job.id, JobKind.BUILD)]
    assert (build.seed, build.algorithm, build.config) == (7, "free", {"n_way": 3})


def test_builds_without_a_seed_get_different_ones(add_model: AddModel, order: Order) -> None:
    add_model(), add_model()
    seeds = {order().seed for _ in range(5)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_pool_without_enough_ready_models_says_what_it_has(
    add_model: AddModel, order: Order, sent: list[tuple[str, str]]
) -> None:
    add_model(ModelStatus.READY)
    add_model(ModelStatus.RECEIVED)
    add_model(ModelStatus.INSPECTING)
    for _ in range(3):
        add_model(ModelStatus.REJECTED)
    with pytest.raises(NoUsableModels) as refusal:
        order()
    assert "'default' offers 1 (2 awaiting inspection, 3 rejected)" in refusal.value.message
    assert "at least 2" in refusal.value.message
    assert sent == []


def test_one_named_model_is_too_few_even_when_named_twice(
    add_model: AddModel, order: Order
) -> None:
    model = add_model()
    with pytest.raises(NoUsableModels, match="at least 2"):
        order(model_ids=[model.id, model.id])


def test_unusable_models_are_named_with_their_state(
    database: Database, organisation_id: str, add_model: AddModel, order: Order
) -> None:
    with database.write() as session:
        other = create_pool(session, organisation_id, name="other", description=None)
    ready = add_model()
    rejected, elsewhere = add_model(ModelStatus.REJECTED), add_model(pool_id=other.id)
    with pytest.raises(NoUsableModels) as refusal:
        order(model_ids=[ready.id, rejected.id, elsewhere.id])
    assert f"{rejected.id} is rejected" in refusal.value.message
    assert f"{elsewhere.id} is in another pool" in refusal.value.message
    assert ready.id not in refusal.value.message


def test_a_model_or_pool_that_is_not_there_is_refused(add_model: AddModel, order: Order) -> None:
    model = add_model()
    with pytest.raises(ModelNotFound):
        order(model_ids=[model.id, "mdl_nothing"])
    with pytest.raises(PoolNotFound):
        order(pool_name="nowhere")


def test_a_refused_order_leaves_no_build_and_no_job(
    database: Database, add_model: AddModel, order: Order
) -> None:
    add_model()
    with pytest.raises(NoUsableModels):
        order()
    with database.read() as session:
        assert session.scalars(select(BuildRow)).all() == []
        assert session.scalars(select(JobRow)).all() == []


def test_a_queued_build_is_canceled_at_once_and_only_once(
    database: Database, organisation_id: str, add_model: AddModel, order: Order
) -> None:
    add_model(), add_model()
    build = order()
    with database.write() as session:
        canceled = cancel_build(session, organisation_id, build.id)
    assert canceled.job.status == JobStatus.CANCELED
    with database.write() as session, pytest.raises(BuildFinished, match="already canceled"):
        cancel_build(session, organisation_id, build.id)


def test_a_running_build_is_canceled_at_once(
    database: Database, organisation_id: str, add_model: AddModel, order: Order
) -> None:
    add_model(), add_model()
    build = order()
    with database.write() as session:
        jobs.claim(session, build.job_id, holder="run_a", lease_s=30)
    with database.write() as session:
        canceled = cancel_build(session, organisation_id, build.id)
    assert (canceled.job.status, canceled.job.holder) == (JobStatus.CANCELED, None)


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.FAILED])
def test_an_ended_build_cannot_be_canceled(
    database: Database,
    organisation_id: str,
    add_model: AddModel,
    order: Order,
    status: JobStatus,
) -> None:
    add_model(), add_model()
    build = order()
    with database.write() as session:
        session.execute(update(JobRow).values(status=status))
    with database.write() as session, pytest.raises(BuildFinished, match=f"already {status}"):
        cancel_build(session, organisation_id, build.id)


def test_another_organisations_build_cannot_be_canceled(
    database: Database, add_model: AddModel, order: Order
) -> None:
    add_model(), add_model()
    build = order()
    with database.write() as session, pytest.raises(BuildNotFound):
        cancel_build(session, "org_other", build.id)
