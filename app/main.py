"""Compose the HTTP application: `uvicorn app.main:create_app --factory`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.responses import RedirectResponse

from app import errors, limits
from app.errors import Problem
from app.inference import Inference
from app.manifest import ManifestIn
from app.routes import builds, health, keys, meta_learners, models, pools, predictions, problems
from pool.database.session import Database
from pool.queue import JobQueue, make_celery
from pool.settings import Settings
from pool.storage.store import open_store

SUMMARY = "Pool trained classifiers, never data; build a meta-learner; ask it with a few images."


def create_app(settings: Settings | None = None) -> FastAPI:
    """The composition root: adapters, guards, handlers, routes."""
    settings = settings or Settings()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    app: FastAPI = FastAPIOffline(
        title="Modelpool",
        summary=SUMMARY,
        version="1",
        redoc_url=None,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.database = Database(settings.database, send=JobQueue(make_celery(settings)).send)
    app.state.store = open_store(settings)
    app.state.inference = Inference(settings, app.state.store)
    errors.install(app)
    app.add_middleware(limits.BodyLimit, limit_for=lambda path: _body_limit(path, settings))
    app.add_middleware(limits.RequestId)
    for module in (models, builds, meta_learners, predictions, pools, keys, problems, health):
        app.include_router(module.router)
    app.add_api_route("/", _to_documentation, include_in_schema=False)
    _describe(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.database.dispose()


async def _to_documentation() -> RedirectResponse:
    return RedirectResponse("/docs")


def _body_limit(path: str, settings: Settings) -> int:
    if path == "/v1/models":
        return settings.max_checkpoint_bytes + limits.JSON_BODY_BYTES
    if path.startswith("/v1/meta-learners/") and path.endswith("/predictions"):
        return settings.max_prediction_bytes
    return limits.JSON_BODY_BYTES


def _describe(app: FastAPI) -> None:
    """Put the problem document into the schema, which no route returns by its type."""
    generate = app.openapi

    def openapi() -> dict[str, object]:
        schema = generate()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for kind in (Problem, ManifestIn):  # named by routes, returned or taken by none
            model = kind.model_json_schema(ref_template="#/components/schemas/{model}")
            for name, definition in model.pop("$defs", {}).items():
                schemas.setdefault(name, definition)
            schemas.setdefault(kind.__name__, model)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def main() -> None:
    """Serve on the address that the settings name: `python -m app.main`."""
    settings = Settings()
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, access_log=False)


if __name__ == "__main__":
    main()
