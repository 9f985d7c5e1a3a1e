"""Liveness, readiness, version."""

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.readiness import REQUIRED
from app.threads import ThreadedRoute
from app.version import server_version

router = APIRouter(tags=["operations"], route_class=ThreadedRoute)


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


class Dependency(BaseModel):
    """How one dependency is."""

    state: Literal["ok", "away"]
    required: bool = Field(description="Whether this API is unready without it.")
    detail: str
    ms: float = Field(description="How long it took to find out.")


class ReadinessOut(BaseModel):
    """Whether to send requests here, and how each dependency is."""

    ready: bool
    stopping: bool = Field(description="Whether this process was asked to stop.")
    dependencies: dict[str, Dependency]


class Version(BaseModel):
    """What runs here."""

    version: str
    api: str = "v1"


@router.get("/healthz/live")
async def live() -> Alive:
    """The process answers."""
    return Alive()


@router.get("/healthz/ready", responses={503: {"model": ReadinessOut}})
async def ready(request: Request, response: Response) -> ReadinessOut:
    """Which dependency is away, if one is; 503 if the API cannot do without it, or stops."""
    found = await request.app.state.readiness.look()
    stopping: bool = request.app.state.stopping
    dependencies = {
        name: Dependency(
            state=each.state, required=name in REQUIRED, detail=each.detail, ms=each.ms
        )
        for name, each in found.items()
    }
    away = [each for each in dependencies.values() if each.required and each.state == "away"]
    is_ready = not away and not stopping
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return ReadinessOut(ready=is_ready, stopping=stopping, dependencies=dependencies)


@router.get("/version")
def get_version() -> Version:
    """The server's release and its API's."""
    return Version(version=server_version())
