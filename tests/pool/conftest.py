"""What tests of the pool share: an emptied database of each kind, rows to put in, a store."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pool.database import repository
from pool.database.session import Database
from pool.database.tables import Base, JobRow, MetaLearnerRow, ModelRow, OrganisationRow, PoolRow
from pool.domain import Manifest, ModelStatus, Recipe, new_id
from pool.setup import migrate
from pool.storage.directory import DirectoryStore
from pool.usecases.bootstrap import DEFAULT_ORGANISATION, bootstrap
from pool.usecases.build import record_meta_learner, start_build
from tests.factories import model_row, postgres_database

Sent = list[tuple[str, str]]
AddModel = Callable[..., ModelRow]


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One migrated SQLite database for all tests, since migrating costs more than a test."""
    url = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'modelpool.db'}"
    migrate(url)
    return url


@pytest.fixture(scope="session")
def migrated_postgresql() -> Iterator[str]:
    """One migrated PostgreSQL database for all tests, dropped at their end."""
    with postgres_database() as url:
        migrate(url)
        yield url


@pytest.fixture
def sent() -> Sent:
    """The messages that left: (job id, kind), in order."""
    return []


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, sent: Sent) -> Iterator[Database]:
    """A database of each kind, holding the bootstrapped organisation and nothing else."""
    url: str = request.getfixturevalue(f"migrated_{request.param}")
    made = Database(url, send=lambda job_id, kind: sent.append((job_id, kind)))
    with made.write() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(table.delete())
    bootstrap(made, None)
    yield made
    made.dispose()


@pytest.fixture
def organisation_id(database: Database) -> str:
    """Whose models, builds and keys the tests make."""
    with database.read() as session:
        row = session.scalars(
            select(OrganisationRow).where(OrganisationRow.name == DEFAULT_ORGANISATION)
        ).one()
    return row.id


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """The directory behind `store`."""
    return tmp_path / "objects"


@pytest.fixture
def store(objects: Path) -> DirectoryStore:
    """An empty object store."""
    return DirectoryStore(objects)


@pytest.fixture
def manifest() -> Manifest:
    """What an honest uploader says."""
    return Manifest(
        name="ward 3",
        backbone="conv4",
        class_names=("normal", "effusion"),
        image_size=32,
        channels=1,
        mean=(0.5,),
        std=(0.25,),
    )


@pytest.fixture
def add_model(database: Database, organisation_id: str) -> AddModel:
    """Put a model's record in, ready unless said otherwise."""

    def add(status: ModelStatus = ModelStatus.READY, **values: Any) -> ModelRow:
        with database.write() as session:
            pool = session.scalars(
                select(PoolRow).where(PoolRow.organisation_id == organisation_id)
            ).first()
            assert pool is not None
            row = model_row(pool, status, **values)
            session.add(row)
        return row

    return add


@pytest.fixture
def order_build(database: Database, organisation_id: str) -> Callable[..., str]:
    """Queue a build over models (all ready ones when none are named); its id."""

    def order(*model_ids: str) -> str:
        with database.write() as session:
            build = start_build(
                session,
                organisation_id,
                pool_name="default",
                recipe=Recipe(algorithm="free"),
                model_ids=model_ids or None,
                seed=1,
            )
        return build.id

    return order


@pytest.fixture
def add_meta_learner(database: Database, organisation_id: str) -> Callable[[str], MetaLearnerRow]:
    """Put in what a build delivered."""

    def add(build_id: str) -> MetaLearnerRow:
        with database.write() as session:
            build = repository.find_build(session, organisation_id, build_id)
            row = MetaLearnerRow(
                id=new_id("ml"),
                organisation_id=organisation_id,
                pool_id=build.pool_id,
                build_id=build.id,
                object_key="meta-learners/x.safetensors",
                sha256="0" * 64,
                size_bytes=1,
                backbone="conv4",
                image_size=32,
                channels=1,
                report={},
            )
            return record_meta_learner(session, build, row)

    return add


@pytest.fixture
def job_of(database: Database) -> Callable[[str], JobRow]:
    """The job that works on a subject, as it stands in the database now."""

    def find(subject_id: str) -> JobRow:
        with database.read() as session:
            return session.scalars(select(JobRow).where(JobRow.subject_id == subject_id)).one()

    return find
