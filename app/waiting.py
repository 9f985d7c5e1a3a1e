"""`wait_s` on a record: answer when its job is over, without a thread held meanwhile."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Query
from starlette.concurrency import run_in_threadpool

from app.deps import BuildReader, DatabaseDep, FollowersDep, ModelReader, ModelWriter
from app.followers import Follower, Followers
from pool.database import repository
from pool.database.following import Watch, job_of
from pool.database.session import Database
from pool.domain import Caller
from pool.usecases.keys import authenticate_again

MAX_WAIT_S = 30.0
"""Shorter than what proxies commonly allow a request to be silent."""

WaitS = Annotated[
    float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait at most before answering.")
]


def visible_build(database: Database, caller: Caller, build_id: str) -> str:
    """The job of a build that the caller may see.

    Raises:
        NotAuthenticated: their key has ended meanwhile.
        BuildNotFound, RoleRequired: they may not, or there is none.
    """
    with database.read() as session:
        authenticate_again(session, caller.secret_sha256)
        return repository.find_build(session, caller.organisation_id, build_id).job_id


def visible_model(database: Database, caller: Caller, model_id: str) -> str | None:
    """The inspection of a model that the caller may see.

    Raises:
        NotAuthenticated: their key has ended meanwhile.
        ModelNotFound, RoleRequired: they may not, or there is none.
    """
    with database.read() as session:
        authenticate_again(session, caller.secret_sha256)
        return job_of(session, repository.find_model(session, caller.organisation_id, model_id).id)


def watch(caller: Caller, job_id: str) -> Watch:
    """By which right the caller follows the job."""
    return Watch(
        job_id=job_id,
        organisation_id=caller.organisation_id,
        secret_sha256=caller.secret_sha256,
    )


def visible_upload(database: Database, caller: Caller, upload_id: str) -> str | None:
    """The assembly of an upload that the caller may see.

    Raises:
        UploadNotFound: they may not, or there is none.
    """
    with database.read() as session:
        return job_of(
            session, repository.find_upload(session, caller.organisation_id, upload_id).id
        )


async def wait_for_build(
    build_id: str,
    database: DatabaseDep,
    followers: FollowersDep,
    caller: BuildReader,
    wait_s: WaitS = 0.0,
) -> None:
    """Return when the build is over, or the wait is."""
    if wait_s:
        job_id = await run_in_threadpool(visible_build, database, caller, build_id)
        await _wait(followers, watch(caller, job_id), wait_s)
        await run_in_threadpool(visible_build, database, caller, build_id)


async def wait_for_model(
    model_id: str,
    database: DatabaseDep,
    followers: FollowersDep,
    caller: ModelReader,
    wait_s: WaitS = 0.0,
) -> None:
    """Return when the model's inspection is over, or the wait is."""
    if wait_s:
        job_id = await run_in_threadpool(visible_model, database, caller, model_id)
        if job_id is not None:
            await _wait(followers, watch(caller, job_id), wait_s)
            await run_in_threadpool(visible_model, database, caller, model_id)


async def wait_for_upload(
    upload_id: str,
    database: DatabaseDep,
    followers: FollowersDep,
    caller: ModelWriter,
    wait_s: WaitS = 0.0,
) -> None:
    """Return when the upload is assembled, or the wait is over; an open one is not waited for."""
    if wait_s:
        job_id = await run_in_threadpool(visible_upload, database, caller, upload_id)
        if job_id is not None:
            await _wait(followers, watch(caller, job_id), wait_s)
            await run_in_threadpool(visible_upload, database, caller, upload_id)


async def follower_of_build(
    build_id: str, database: DatabaseDep, followers: FollowersDep, caller: BuildReader
) -> AsyncIterator[Follower]:
    """Follow a build for as long as the answer lasts; refused before it starts."""
    job_id = await run_in_threadpool(visible_build, database, caller, build_id)
    async with followers.following(watch(caller, job_id)) as follower:
        yield follower


FollowerDep = Annotated[Follower, Depends(follower_of_build)]


async def _wait(followers: Followers, watched: Watch, wait_s: float) -> None:
    async with followers.following(watched) as follower:
        await follower.end(wait_s=wait_s)
