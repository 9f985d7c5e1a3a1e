"""Small real things to test with: checkpoints, manifests, models in a pool, builds."""

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from safetensors.torch import save
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from ml.backbones import build, initialize
from pool.database import jobs, repository
from pool.database.session import Database
from pool.database.tables import BuildRow, ModelRow, PoolRow
from pool.domain import JobKind, JobRun, Manifest, ModelStatus, Recipe, new_id
from pool.errors import ModelNotFound
from pool.storage.store import ObjectStore
from pool.usecases.build import start_build
from pool.usecases.upload import receive_model

ADMIN = "mp_an-admins-key-of-the-tests"
"""The bootstrap key of deployments under test."""

QUICK_FREE = {
    "preset": "tiny",
    "outer_steps": 6,
    "warm_up_steps": 1,
    "tasks_per_step": 2,
    "n_way": 3,
    "generator_width": 4,
    "latent_dim": 8,
    "images_per_class": 6,
    "replay_shots": 1,
    "replay_queries": 5,
    "replay_max_batches": 2,
    "save_every": 2,
}
"""A FREE build of seconds over small teachers."""

QUICK_MULTI_TEACHER = {
    "preset": "tiny",
    "images": 40,
    "batch_images": 20,
    "refine_steps": 2,
    "steps": 12,
    "batch_size": 8,
    "save_every": 5,
}
"""A multi-teacher build of seconds over small teachers."""


def small_checkpoint(seed: int = 0, *, n_classes: int = 3) -> bytes:
    """A randomly initialised conv4 for 16-pixel grey images, as safetensors."""
    module = build("conv4", n_classes=n_classes, channels=1, image_size=16)
    initialize(module, torch.Generator().manual_seed(seed))
    return save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})


def small_manifest(name: str = "small", *, n_classes: int = 3, **changes: Any) -> dict[str, Any]:
    """The manifest that fits small_checkpoint, as a client would send it."""
    manifest: dict[str, Any] = {
        "name": name,
        "backbone": "conv4",
        "class_names": [f"{name} class {i}" for i in range(n_classes)],
        "image_size": 16,
        "channels": 1,
        "normalization": {"mean": [0.5], "std": [0.5]},
    }
    return manifest | changes


def domain_manifest(sent: dict[str, Any]) -> Manifest:
    """A sent manifest in the pool's own terms."""
    fields = dict(sent)
    normalization = fields.pop("normalization")
    fields["class_names"] = tuple(fields["class_names"])
    return Manifest(**fields, mean=tuple(normalization["mean"]), std=tuple(normalization["std"]))


def organisation_of(database: Database) -> str:
    """The bootstrapped organisation's id."""
    from pool.database.tables import OrganisationRow

    with database.read() as session:
        return session.query(OrganisationRow).one().id


def upload(
    database: Database, store: ObjectStore, data: bytes, manifest: dict[str, Any]
) -> ModelRow:
    """Upload through the use case, as the route does."""
    model, _ = receive_model(
        database,
        store,
        organisation_of(database),
        domain_manifest(manifest),
        stream=io.BytesIO(data),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return model


def model_now(database: Database, model_id: str) -> ModelRow:
    """The model as the database has it."""
    with database.read() as session:
        return repository.find_model(session, organisation_of(database), model_id)


def order_build(
    database: Database,
    config: dict[str, Any] | None = None,
    seed: int = 0,
    *,
    algorithm: str = "free",
) -> BuildRow:
    """Request a build over the default pool."""
    with database.write() as session:
        return start_build(
            session,
            organisation_of(database),
            pool_name="default",
            recipe=Recipe(
                algorithm=algorithm, config=dict(QUICK_FREE if config is None else config)
            ),
            model_ids=None,
            seed=seed,
        )


def build_now(database: Database, build_id: str) -> BuildRow:
    """The build and its job as the database has them."""
    with database.read() as session:
        return repository.find_build(session, organisation_of(database), build_id)


def claim_next(database: Database, kind: JobKind) -> JobRun:
    """Claim the oldest queued job of a kind, as a job process does."""
    with database.write() as session:
        job_id = jobs.next_queued(session, kind)
        if job_id is None:
            raise ModelNotFound("no job is queued")
        run = jobs.claim(session, job_id, holder=new_id("run"), lease_s=60)
    assert run is not None
    return run


def as_json(value: object) -> str:
    """JSON text, as a manifest field is sent."""
    return json.dumps(value)


def model_row(pool: PoolRow, status: ModelStatus = ModelStatus.READY, **values: Any) -> ModelRow:
    """A model's record, not in a database yet; fields may be given."""
    digest = secrets.token_hex(32)
    fields = {
        "id": new_id("mdl"),
        "organisation_id": pool.organisation_id,
        "pool_id": pool.id,
        "status": status,
        "name": "a model",
        "backbone": "conv4",
        "class_names": ["a", "b"],
        "image_size": 32,
        "channels": 1,
        "mean": [0.5],
        "std": [0.25],
        "sha256": digest,
        "canonical_sha256": digest,
        "size_bytes": 1,
    }
    return ModelRow(**(fields | values))


@contextmanager
def postgres_database(template: str = "") -> Iterator[str]:
    """The URL of a database of its own on the local PostgreSQL, dropped afterwards; else a skip.

    Empty, or a copy of the database at another URL.
    """
    server_url = os.environ.get("MODELPOOL_TEST_POSTGRES", "postgresql+psycopg:///postgres")
    name = f"modelpool_test_{secrets.token_hex(6)}"
    server = create_engine(server_url, isolation_level="AUTOCOMMIT")
    try:
        with server.connect() as connection:
            copied = f" TEMPLATE {make_url(template).database}" if template else ""
            connection.execute(text(f"CREATE DATABASE {name}{copied}"))
    except OperationalError:
        pytest.skip("no PostgreSQL here; set MODELPOOL_TEST_POSTGRES to its URL")
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()
