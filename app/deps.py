"""What routes depend on: the only Depends() in the edge."""

from collections.abc import Callable, Iterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from app.adaptations import Adaptations
from app.followers import Followers
from app.inference import Inference
from pool.actors import actor
from pool.database.session import Database
from pool.domain import Caller, Scope
from pool.errors import NotAuthenticated
from pool.settings import Settings
from pool.storage.parts import PartStore
from pool.storage.store import ObjectStore
from pool.usecases.keys import authenticate, require

bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer mp_...`")


def get_settings(request: Request) -> Settings:
    """The deployment's settings."""
    settings: Settings = request.app.state.settings
    return settings


def get_database(request: Request) -> Database:
    """The database, for use cases that open transactions of their own."""
    database: Database = request.app.state.database
    return database


def get_store(request: Request) -> ObjectStore:
    """The object store."""
    store: ObjectStore = request.app.state.store
    return store


def get_parts(request: Request) -> PartStore:
    """Where uploads' parts go."""
    parts: PartStore = request.app.state.parts
    return parts


def get_followers(request: Request) -> Followers:
    """Who waits for jobs in this process."""
    followers: Followers = request.app.state.followers
    return followers


def get_inference(request: Request) -> Inference:
    """The one door to tensors."""
    inference: Inference = request.app.state.inference
    return inference


def get_adaptations(request: Request) -> Adaptations:
    """Classifiers that are kept between requests."""
    adaptations: Adaptations = request.app.state.adaptations
    return adaptations


SettingsDep = Annotated[Settings, Depends(get_settings)]
DatabaseDep = Annotated[Database, Depends(get_database)]
PartsDep = Annotated[PartStore, Depends(get_parts)]
StoreDep = Annotated[ObjectStore, Depends(get_store)]
FollowersDep = Annotated[Followers, Depends(get_followers)]
InferenceDep = Annotated[Inference, Depends(get_inference)]
AdaptationsDep = Annotated[Adaptations, Depends(get_adaptations)]


def get_session(request: Request, database: DatabaseDep) -> Iterator[Session]:
    """One transaction a request; it commits before the answer leaves."""
    opening = database.read if request.method in ("GET", "HEAD") else database.write
    with opening() as session:
        yield session


# scope="function": with FastAPI's default the answer would leave before the commit, so that a
# failing commit would still have told the client 201.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]


def get_caller(
    request: Request,
    database: DatabaseDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """Who asks.

    Raises:
        NotAuthenticated: no key, or none that is valid.
    """
    if credentials is None:
        raise NotAuthenticated("Send an API key: `Authorization: Bearer mp_...`.")
    with database.read() as session:
        caller = authenticate(session, credentials.credentials)
    who = actor()
    who.organisation_id, who.key_id = caller.organisation_id, caller.key_id
    request.state.caller = caller  # tells the rate limit that the key is valid
    return caller


def caller_with(scope: Scope) -> Callable[[Caller], Caller]:
    """A dependency: the caller, if their key has the scope."""

    def check(caller: Annotated[Caller, Depends(get_caller)]) -> Caller:
        require(caller, scope)
        return caller

    return check


ModelReader = Annotated[Caller, Depends(caller_with(Scope.MODELS_READ))]
ModelWriter = Annotated[Caller, Depends(caller_with(Scope.MODELS_WRITE))]
BuildReader = Annotated[Caller, Depends(caller_with(Scope.BUILDS_READ))]
BuildWriter = Annotated[Caller, Depends(caller_with(Scope.BUILDS_WRITE))]
Predictor = Annotated[Caller, Depends(caller_with(Scope.PREDICT))]
KeyAdmin = Annotated[Caller, Depends(caller_with(Scope.KEYS_ADMIN))]
PoolAdmin = Annotated[Caller, Depends(caller_with(Scope.POOLS_ADMIN))]
Auditor = Annotated[Caller, Depends(caller_with(Scope.AUDIT_READ))]
