"""Liveness, readiness, version."""

import contextlib
from http import HTTPStatus

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.deps import DatabaseDep, StoreDep
from app.version import server_version
from pool.errors import PoolError

router = APIRouter(tags=["operations"])


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether each dependency answers."""

    ready: bool
    database: bool
    storage: bool


class Version(BaseModel):
    """What runs here."""

    version: str
    api: str = "v1"


@router.get("/healthz/live")
def live() -> Alive:
    """The process answers."""
    return Alive()


@router.get("/healthz/ready", responses={503: {"model": Readiness}})
def ready(database: DatabaseDep, store: StoreDep, response: Response) -> Readiness:
    """Which dependency is away, if one is; 503 then."""
    database_ok = storage_ok = False
    with contextlib.suppress(SQLAlchemyError), database.read() as session:
        session.execute(text("SELECT version_num FROM alembic_version"))
        database_ok = True
    with contextlib.suppress(PoolError):
        store.ping()
        storage_ok = True
    found = Readiness(ready=database_ok and storage_ok, database=database_ok, storage=storage_ok)
    if not found.ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return found


@router.get("/version")
def get_version() -> Version:
    """The server's release and its API's."""
    return Version(version=server_version())
