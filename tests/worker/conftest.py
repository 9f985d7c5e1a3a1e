"""A worker's surroundings without Celery."""

from collections.abc import Callable

import pytest
from factories import claim_next, small_checkpoint, small_manifest, upload

from pool.database.session import Database
from pool.domain import JobKind
from pool.settings import Settings
from pool.storage.store import ObjectStore, open_store
from worker.context import JobContext
from worker.jobs.inspect import inspect_model


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    """The embedded deployment's object store."""
    return open_store(settings)


@pytest.fixture
def context(settings: Settings, embedded: Database, store: ObjectStore) -> JobContext:
    """What a job process works with."""
    return JobContext(settings=settings, database=embedded, store=store)


@pytest.fixture
def ready_models(context: JobContext) -> Callable[[int], list[str]]:
    """Put n small models through upload and inspection."""

    def make(count: int) -> list[str]:
        ids = []
        for seed in range(count):
            data = small_checkpoint(seed)
            model = upload(context.database, context.store, data, small_manifest(f"m{seed}"))
            inspect_model(context, claim_next(context.database, JobKind.INSPECT))
            ids.append(model.id)
        return ids

    return make
