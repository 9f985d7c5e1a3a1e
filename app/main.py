"""Compose the HTTP application: `uvicorn app.main:create_app --factory`."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import description, errors, idempotency, limits
from app.adaptations import Adaptations
from app.buckets import open_buckets
from app.build_form import BuildIn
from app.connections import UVICORN, BodyPace
from app.errors import Problem
from app.followers import Followers
from app.inference import Inference
from app.manifest import ManifestIn
from app.metrics import make_instruments
from app.open_inference import InferenceRequest, InferenceResponse
from app.rate_limit import RateLimit, is_few_shot
from app.readiness import Readiness
from app.routes import (
    adaptations,
    aliases,
    audit,
    build_events,
    builds,
    exports,
    health,
    keys,
    lineage,
    members,
    meta_learners,
    metrics,
    models,
    open_inference,
    pools,
    predictions,
    problems,
    task_map,
    ui,
    uploads,
    usage,
)
from app.stopping import before_stopping
from pool import logs
from pool.database.session import Database
from pool.queue import JobQueue, make_celery
from pool.settings import Settings
from pool.storage.parts import MAX_PART_BYTES, open_parts
from pool.storage.store import open_store

DESCRIBED = (Problem, ManifestIn, BuildIn, InferenceRequest, InferenceResponse)
"""Documents that operations name, but whose types no route declares."""
SUMMARY = "Pool trained classifiers, never data; build a meta-learner; ask it with a few images."


def create_app(settings: Settings | None = None) -> FastAPI:
    """The composition root: adapters, guards, handlers, routes."""
    if settings is None:  # started by a web server's command line
        settings = Settings()
        logs.configure(settings)
    app: FastAPI = FastAPIOffline(
        title="Modelpool",
        summary=SUMMARY,
        version="1",
        redoc_url=None,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(description.refuse_unknown_query)],
    )
    app.state.settings = settings
    celery = make_celery(settings)
    app.state.database = Database(settings.database, send=JobQueue(celery).send)
    app.state.store = open_store(settings)
    app.state.parts = open_parts(settings)
    app.state.instruments = make_instruments(settings, app.state.database)
    app.state.readiness = Readiness(settings, app.state.database, app.state.store, celery)
    app.state.followers = Followers(app.state.database, most=settings.max_followers)
    app.state.stopping = False
    app.state.inference = Inference(settings, app.state.store)
    app.state.adaptations = Adaptations(settings)
    app.state.buckets = open_buckets(settings.rate_limits)
    errors.install(app)
    idempotency.install(app)
    app.add_middleware(BodyPace, silence_s=settings.body_silence_s)
    app.add_middleware(limits.BodyLimit, limit_for=lambda path: _body_limit(path, settings))
    app.add_middleware(RateLimit, buckets=app.state.buckets, settings=settings)
    app.add_middleware(limits.RequestId)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)
    for module in (
        models,
        lineage,
        uploads,
        builds,
        build_events,
        meta_learners,
        aliases,
        predictions,
        adaptations,
        exports,
        open_inference,
        pools,
        task_map,
        members,
        keys,
        audit,
        usage,
        problems,
        health,
        metrics,
        ui,
    ):
        app.include_router(module.router)
    description.install(app, *DESCRIBED, of_bodies=errors.of_bodies())
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    with before_stopping(lambda: _stop(app), drain_s=app.state.settings.drain_s):
        yield
    app.state.readiness.close()
    await app.state.buckets.close()
    app.state.database.dispose()


def _stop(app: FastAPI) -> None:
    app.state.stopping = True
    app.state.followers.close()


def _body_limit(path: str, settings: Settings) -> int:
    if path == "/v1/models":
        return settings.max_checkpoint_bytes + limits.JSON_BODY_BYTES
    if path.startswith("/v1/uploads/") and "/parts/" in path:
        return MAX_PART_BYTES
    if is_few_shot(path):
        return settings.max_prediction_bytes
    if path == "/v1/builds":  # with a validation set; app/build_form.py limits JSON
        return settings.max_prediction_bytes
    return limits.JSON_BODY_BYTES


def main() -> None:
    """Serve on the address that the settings name: `python -m app.main`."""
    settings = Settings()
    logs.configure(settings)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_s),
        **UVICORN,
    )


if __name__ == "__main__":
    main()
