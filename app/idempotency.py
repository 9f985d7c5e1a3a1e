"""`Idempotency-Key`: a creating request that is sent again creates nothing twice.

A creating route takes a `Once` before its session and keeps its answer through it:

    def create_build(order: BuildIn, once: Annotated[Once, once_for(Scope.BUILDS_WRITE)],
                     session: SessionDep, ...) -> BuildOut:
        build = start_build(session, ...)
        return once.keep(session, BuildOut.of(build))

Where the key was sent before, the route does not run: its kept answer is sent instead. A refused
request creates nothing, so its key is free again: it can be mended and sent under the same key.
After draft-ietf-httpapi-idempotency-key-header-07, except that refusals are judged anew.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.deps import DatabaseDep, caller_with
from pool.database.session import Database
from pool.domain import Caller, Scope
from pool.usecases import idempotency
from pool.usecases.idempotency import Claim, KeptAnswer

REPLAYED = "Idempotency-Replayed"
DESCRIPTION = (
    "Your own name for this request, such as a UUID: sent again within 24 hours with the same "
    "body, the request is answered as before (with `Idempotency-Replayed: true`) and creates "
    "nothing; with another body it is refused (422); while the first is at work, too (409)."
)
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", max_length=255, pattern=r"^[ -~]+$", description=DESCRIPTION),
]
Answer = TypeVar("Answer", bound=BaseModel)


class Replay(Exception):
    """Not a failure: the answer is known already."""

    def __init__(self, answer: KeptAnswer) -> None:
        super().__init__(f"replay of {answer.status}")
        self.answer = answer


class Once:
    """One creating request's right to create, and where its answer is kept."""

    def __init__(self, claim: Claim | None, status: int) -> None:
        self._claim = claim
        self._status = status

    def keep(
        self,
        session: Session,
        answer: Answer,
        *,
        status: int | None = None,
        shown_once: frozenset[str] = frozenset(),
    ) -> Answer:
        """Keep the answer in the transaction that creates what it speaks of, and return it.

        Args:
            session: the creating transaction's.
            answer: what the route returns.
            status: where it is not the one that the route declares.
            shown_once: secret fields, which a replay says are null.

        Raises:
            RequestInFlight: a later request took over; nothing may be committed.
        """
        if self._claim is not None:
            kept = answer.model_copy(update=dict.fromkeys(shown_once))
            body = kept.model_dump_json()
            idempotency.keep(
                session, self._claim, KeptAnswer(status=status or self._status, body=body)
            )
        return answer


async def body_digest(request: Request) -> str:
    """SHA-256 of a body that the route reads into memory anyway."""
    return hashlib.sha256(await request.body()).hexdigest()


def once_for(scope: Scope, *, digest: Callable[..., Any] = body_digest) -> Any:
    """What a creating route depends on.

    Args:
        scope: what the caller's key must allow, checked before an answer is replayed.
        digest: a dependency that tells bodies apart; a multipart route brings its own, since
            each sending of a form has another boundary.
    """

    async def once(
        request: Request,
        database: DatabaseDep,
        caller: Annotated[Caller, Depends(caller_with(scope))],
        digest: Annotated[str, Depends(digest)],
        key: Key = None,
    ) -> AsyncIterator[Once]:
        declared: int = request.scope["route"].status_code or 200
        if key is None:
            yield Once(None, declared)
            return
        claim = await run_in_threadpool(
            _claim, database, caller.organisation_id, key, _fingerprint(request, digest)
        )
        try:
            yield Once(claim, declared)
        except BaseException:
            await run_in_threadpool(_release, database, claim)
            raise

    # Left after the route's session has rolled back: on SQLite the two could not write at once.
    return Depends(once, scope="request")


def _fingerprint(request: Request, digest: str) -> str:
    text = f"{request.method} {request.url.path}\n{digest}"
    return hashlib.sha256(text.encode()).hexdigest()


def _claim(database: Database, organisation_id: str, key: str, fingerprint: str) -> Claim:
    with database.write() as session:
        found = idempotency.claim(session, organisation_id, key, fingerprint=fingerprint)
    if isinstance(found, KeptAnswer):
        raise Replay(found)
    return found


def _release(database: Database, claim: Claim) -> None:
    """The refusal under way matters more than a key that is blocked until its lease ends."""
    with contextlib.suppress(SQLAlchemyError), database.write() as session:
        idempotency.release(session, claim)


def install(app: FastAPI) -> None:
    """Answer with what was kept."""
    app.add_exception_handler(Replay, _replay)


async def _replay(_: Request, replay: Exception) -> Response:
    assert isinstance(replay, Replay)
    return Response(
        replay.answer.body,
        replay.answer.status,
        media_type="application/json",
        headers={REPLAYED: "true"},
    )
