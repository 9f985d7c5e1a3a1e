"""What tests of the HTTP edge share: an application, clients with keys, rows, a meta-learner."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import select
from starlette.testclient import TestClient

from app.main import create_app
from ml.backbones import build, initialize
from ml.ensemble import EnsembleLearner, save_ensemble
from ml.learner import MetaLearner, save_meta_learner
from ml.types import Teacher
from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import BuildModelRow, BuildRow, MetaLearnerRow, ModelRow, PoolRow
from pool.domain import JobKind, JobRun, ModelStatus, Scope, new_id
from pool.settings import Settings
from pool.setup import migrate
from pool.storage.store import meta_learner_key
from pool.usecases.bootstrap import bootstrap
from pool.usecases.keys import create_key
from tests.factories import ADMIN, model_row

SIZE = 16


@pytest.fixture(scope="session")
def bootstrapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, bootstrapped SQLite file to copy, since migrating costs more than a test."""
    path = tmp_path_factory.mktemp("bootstrapped") / "modelpool.db"
    migrate(f"sqlite:///{path}")
    database = Database(f"sqlite:///{path}")
    bootstrap(database, ADMIN)
    database.dispose()
    return path


@pytest.fixture
def settings(tmp_path: Path, bootstrapped: Path) -> Settings:
    """An embedded deployment that is set up, with limits small enough to be reached."""
    var = tmp_path / "var"
    var.mkdir()
    shutil.copyfile(bootstrapped, var / "modelpool.db")
    return Settings(
        var=var, max_checkpoint_bytes=100_000, max_prediction_bytes=8_000_000, threads=1
    )


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The application over it."""
    return create_app(settings)


@pytest.fixture
def database(app: FastAPI) -> Database:
    """The application's own database."""
    found: Database = app.state.database
    return found


@pytest.fixture
def anonymous(app: FastAPI) -> Iterator[TestClient]:
    """Somebody without a key."""
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(app: FastAPI, anonymous: TestClient) -> TestClient:
    """Somebody whose key may do everything."""
    return TestClient(
        app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {ADMIN}"}
    )


@pytest.fixture
def with_scopes(
    app: FastAPI, database: Database, pool_row: PoolRow, client: TestClient
) -> Callable[..., TestClient]:
    """Somebody whose key has these scopes only."""

    def make(*scopes: Scope) -> TestClient:
        with database.write() as session:
            _, key = create_key(session, pool_row.organisation_id, name="a key", scopes=scopes)
        return TestClient(
            app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {key}"}
        )

    return make


@pytest.fixture
def pool_row(database: Database) -> PoolRow:
    """The pool named default."""
    with database.read() as session:
        return session.scalars(select(PoolRow).where(PoolRow.name == "default")).one()


@pytest.fixture
def manifest() -> dict[str, Any]:
    """What an honest uploader says."""
    return {
        "name": "ward 3",
        "backbone": "conv4",
        "class_names": ["normal", "effusion"],
        "image_size": 32,
        "channels": 1,
        "normalization": {"mean": [0.5], "std": [0.25]},
    }


@pytest.fixture
def upload(client: TestClient, manifest: dict[str, Any]) -> Callable[..., Any]:
    """Upload bytes; fields of the manifest may be changed, or left out by None."""

    def send(data: bytes = b"a checkpoint", **changed: Any) -> Any:
        said = {k: v for k, v in (manifest | changed).items() if v is not None}
        return client.post(
            "/v1/models",
            data={"manifest": json.dumps(said)},
            files={"checkpoint": ("model.safetensors", data)},
        )

    return send


@pytest.fixture
def add_model(database: Database, pool_row: PoolRow) -> Callable[..., ModelRow]:
    """Put a model's record in, ready unless said otherwise."""

    def add(status: ModelStatus = ModelStatus.READY, **values: Any) -> ModelRow:
        row = model_row(pool_row, status, **values)
        with database.write() as session:
            session.add(row)
        return row

    return add


@pytest.fixture
def add_build(database: Database, pool_row: PoolRow) -> Callable[..., BuildRow]:
    """Put a queued build in, over the models given."""

    def add(*models: ModelRow) -> BuildRow:
        with database.write() as session:
            build_row = BuildRow(
                id=new_id("bld"),
                organisation_id=pool_row.organisation_id,
                pool_id=pool_row.id,
                algorithm="free",
                config={},
                seed=0,
            )
            build_row.job = jobs.create(session, JobKind.BUILD, build_row.id)
            build_row.snapshot = [
                BuildModelRow(position=i, model_id=model.id, canonical_sha256="0" * 64)
                for i, model in enumerate(models)
            ]
            session.add(build_row)
        return build_row

    return add


@pytest.fixture
def running(database: Database, add_build: Callable[..., BuildRow]) -> tuple[str, JobRun]:
    """A build that a worker has claimed."""
    build = add_build()
    with database.write() as session:
        run = jobs.claim(session, build.job_id, holder="run_a", lease_s=60)
    assert run is not None
    return build.id, run


@pytest.fixture(scope="session")
def meta_learner_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real meta-learner of random weights: conv4 on grey images of 16 pixels."""
    backbone = build("conv4", n_classes=5, channels=1, image_size=SIZE)
    initialize(backbone, torch.Generator().manual_seed(7))
    learner = MetaLearner(
        backbone="conv4",
        n_way=5,
        image_size=SIZE,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        tensors=dict(backbone.state_dict()),
    )
    path = tmp_path_factory.mktemp("meta-learner") / "meta-learner.safetensors"
    save_meta_learner(path, learner)
    return path


@pytest.fixture(scope="session")
def ensemble_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ensemble of three networks of random weights, one of them for larger images."""
    members = []
    for seed, size in enumerate((SIZE, SIZE, 2 * SIZE)):
        module = build("conv4", n_classes=4, channels=1, image_size=size)
        initialize(module, torch.Generator().manual_seed(seed))
        members.append(
            Teacher(
                module=module.eval().requires_grad_(False),
                backbone="conv4",
                class_names=tuple("abcd"),
                image_size=size,
                channels=1,
                mean=(0.5,),
                std=(0.25,),
            )
        )
    path = tmp_path_factory.mktemp("ensemble") / "ensemble.safetensors"
    learner = EnsembleLearner(members=tuple(members), teachers_asked=0, answer_temperature=2.0)
    save_ensemble(path, learner)
    return path


@pytest.fixture
def add_meta_learner(
    app: FastAPI,
    database: Database,
    meta_learner_file: Path,
    add_build: Callable[..., BuildRow],
) -> Callable[..., MetaLearnerRow]:
    """Put the real meta-learner, or another file, into the store, and its record in."""

    def add(*models: ModelRow, file: Path = meta_learner_file, **values: Any) -> MetaLearnerRow:
        build_row = add_build(*models)
        data = file.read_bytes()
        row = MetaLearnerRow(
            **{
                "id": new_id("ml"),
                "organisation_id": build_row.organisation_id,
                "pool_id": build_row.pool_id,
                "build_id": build_row.id,
                "object_key": "",
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_bytes": len(data),
                "backbone": "conv4",
                "image_size": SIZE,
                "channels": 1,
                "report": {"steps": 3},
            }
            | values
        )
        row.object_key = meta_learner_key(row.build_id, row.id)
        app.state.store.put(row.object_key, io.BytesIO(data), len(data))
        with database.write() as session:
            session.add(row)
        return row

    return add


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """An image of noise that is the same for the same number, encoded."""

    def encoded(number: int, *, form: str = "PNG", mode: str = "L", size: int = SIZE) -> bytes:
        noise = torch.rand(size, size, 3, generator=torch.Generator().manual_seed(number))
        image = Image.fromarray((noise * 255).byte().numpy()).convert(mode)
        file = io.BytesIO()
        image.save(file, form)
        return file.getvalue()

    return encoded


@pytest.fixture
def ask(client: TestClient) -> Callable[..., Any]:
    """Send a few-shot request: labelled support images, query images."""

    def send(
        meta_learner_id: str, support: list[tuple[str, bytes]], query: list[bytes], **fields: str
    ) -> Any:
        files = [("support", ("s", image)) for _, image in support]
        files += [("query", ("q", image)) for image in query]
        return client.post(
            f"/v1/meta-learners/{meta_learner_id}/predictions",
            data={"labels": [label for label, _ in support], **fields},
            files=files,
        )

    return send
