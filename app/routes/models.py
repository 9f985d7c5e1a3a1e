"""Pool models: upload, list, look at, withdraw."""

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.checkpoint_form import MULTIPART, CheckpointForm, form_digest, read_checkpoint_form
from app.deps import DatabaseDep, ModelReader, ModelWriter, SessionDep, SettingsDep, StoreDep
from app.errors import CREATES, responses
from app.idempotency import Once, once_for
from app.manifest import NO_NUL, Normalization
from app.paging import Cursor, Limit, decode_cursor, encode_cursor
from app.threads import ThreadedRoute
from app.waiting import wait_for_model
from pool import errors
from pool.database import repository
from pool.database.names import name_key
from pool.database.paging import Order, Wanted, page
from pool.database.tables import ModelRow
from pool.database.visible import RolesByPool, roles_by_pool
from pool.domain import ModelStatus, Scope
from pool.errors import InvalidInput
from pool.roles import Action, may
from pool.usecases.quotas import Quotas, check_new
from pool.usecases.upload import receive_model
from pool.usecases.withdraw import withdraw_model

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=ThreadedRoute)


CARD = (
    *("id", "name", "pool", "backbone", "status", "image_size", "channels", "domain"),
    "reliability",
)
"""What members see of other members' models; curators and owners see the whole record."""


class ModelOut(BaseModel):
    """A pool model as a record; of other members' models only a card, whose other fields are null.

    docs/ACCESS.md says who sees what. The checkpoint itself is shown to nobody.
    """

    id: str
    mine: bool = Field(description="Whether your organisation contributed it.")
    organisation_id: str | None = Field(description="Who contributed it.")
    name: str
    pool: str
    backbone: str
    status: ModelStatus
    reason: str | None = Field(description="Why it was rejected.")
    reason_code: str | None = Field(description="The same, for programs.")
    recipe: str | None = Field(description="What the uploader can do about it.")
    class_names: list[str] | None
    image_size: int
    channels: int
    normalization: Normalization | None
    domain: str | None
    description: str | None
    training_data_note: str | None
    dp_epsilon: float | None
    sha256: str | None = Field(description="Of the bytes as uploaded.")
    size_bytes: int | None
    source_format: str | None
    n_parameters: int | None
    reliability: float | None = Field(
        ge=0,
        le=1,
        description="How much it behaves like a trained classifier, told from the model alone; "
        "from 0.5 on it is as expected. Null before its inspection, and where it cannot be told "
        "(docs/algorithms/reliability.md).",
    )
    created_at: datetime

    @classmethod
    def of(cls, row: ModelRow, *, mine: bool = True) -> Self:
        """The whole record, for its contributor and for curators."""
        fields: dict[str, Any] = {
            name: getattr(row, name)
            for name in cls.model_fields
            if name not in ("mine", "pool", "normalization")
        }
        return cls(
            **fields,
            mine=mine,
            pool=row.pool.name,
            normalization=Normalization(mean=row.mean, std=row.std),
        )

    @classmethod
    def shown_to(cls, row: ModelRow, organisation_id: str, roles: RolesByPool) -> Self:
        """As much of the record as the organisation may see."""
        if row.organisation_id == organisation_id:
            return cls.of(row)
        whole = cls.of(row, mine=False)
        if may(roles.get(row.pool_id, ()), Action.SEE_MODEL_RECORDS):
            return whole
        shown = {name: getattr(whole, name) for name in (*CARD, "mine", "created_at")}
        return cls(**dict.fromkeys(cls.model_fields) | shown)


class ModelPage(BaseModel):
    """Some of the models, in the order asked for.

    Where filters let little through, a page may hold fewer than `limit`, even none, although
    another follows: the list ends where `next_cursor` is null.
    """

    items: list[ModelOut]
    next_cursor: str | None


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        200: {"description": "These bytes are in the pool already", "model": ModelOut},
        **responses(
            errors.PoolNotFound,
            errors.PoolNameAmbiguous,
            errors.RoleRequired,
            errors.ManifestConflict,
            errors.ContributedAlready,
            errors.StorageFull,
            errors.StorageUnavailable,
            errors.QuotaExceeded,
            *CREATES,
        ),
    },
    openapi_extra=MULTIPART,
)
def upload_model(
    form: Annotated[CheckpointForm, Depends(read_checkpoint_form)],
    once: Annotated[Once, once_for(Scope.MODELS_WRITE, digest=form_digest)],
    caller: ModelWriter,
    database: DatabaseDep,
    store: StoreDep,
    settings: SettingsDep,
    response: Response,
) -> ModelOut:
    """Upload a checkpoint; its inspection follows, look for `ready` or `rejected` at its record."""

    def on_new(session: Session, model: ModelRow) -> None:
        check_new(session, model, Quotas.of_deployment(settings))
        once.keep(session, ModelOut.of(model))

    model, is_new = receive_model(
        database,
        store,
        caller.organisation_id,
        form.manifest,
        stream=form.stream,
        size=form.size,
        sha256=form.sha256,
        on_new=on_new,
    )
    answer = ModelOut.of(model)
    if not is_new:
        response.status_code = HTTPStatus.OK
        with database.write() as session:
            once.keep(session, answer, status=HTTPStatus.OK)
    return answer


@dataclass(frozen=True, slots=True)
class Search:
    """Which models, and in what order."""

    pool: Annotated[
        str | None, Query(max_length=100, pattern=NO_NUL, description="A pool's id or name.")
    ] = None
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern=NO_NUL,
            description="How the name begins, in capitals or not; lists in the order of names.",
        ),
    ] = None
    status: Annotated[ModelStatus | None, Query(description="Only models in this state.")] = None
    backbone: Annotated[
        str | None, Query(max_length=60, pattern=NO_NUL, description="Only of this backbone.")
    ] = None
    domain: Annotated[
        str | None, Query(max_length=100, pattern=NO_NUL, description="Only of this domain.")
    ] = None
    order: Annotated[
        Order | None, Query(description="`newest` first, or by `name`; with `q` always by name.")
    ] = None

    def wanted(self, session: Session, organisation_id: str) -> Wanted:
        """The same in the pool's own terms.

        Raises:
            InvalidInput: newest first and a name's beginning, which no index finds together.
            PoolNotFound, PoolNameAmbiguous: there is no such pool.
        """
        if self.q is not None and self.order is Order.NEWEST:
            raise InvalidInput(
                "With `q` the list is in the order of names; leave `order` out.", part="query/order"
            )
        pool = None
        if self.pool is not None:
            pool = repository.find_pool(session, organisation_id, self.pool)
        equal = {
            ModelRow.status: self.status,
            ModelRow.backbone: self.backbone,
            ModelRow.domain: self.domain,
        }
        return Wanted(
            order=Order.NAME if self.q is not None else self.order or Order.NEWEST,
            equal={column: value for column, value in equal.items() if value is not None},
            pool_id=pool.id if pool else None,
            prefix=name_key(self.q or ""),
        )


@router.get("", responses=responses(errors.PoolNotFound, errors.PoolNameAmbiguous))
def list_models(
    session: SessionDep,
    caller: ModelReader,
    search: Annotated[Search, Depends()],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ModelPage:
    """Your models and those of your pools, as far as your roles show them; filtered, searched."""
    wanted = search.wanted(session, caller.organisation_id)
    rows, position = page(
        session,
        ModelRow,
        caller.organisation_id,
        after=decode_cursor(cursor, wanted),
        limit=limit,
        wanted=wanted,
    )
    roles = roles_by_pool(session, caller.organisation_id)
    items = [ModelOut.shown_to(row, caller.organisation_id, roles) for row in rows]
    return ModelPage(items=items, next_cursor=encode_cursor(position, wanted))


@router.get(
    "/{model_id}",
    responses=responses(errors.ModelNotFound, errors.RoleRequired, errors.TooManyFollowers),
    dependencies=[Depends(wait_for_model)],
)
def get_model(model_id: str, session: SessionDep, caller: ModelReader) -> ModelOut:
    """One model: its state and, if it was rejected, why. `wait_s` answers when it is inspected."""
    row = repository.find_model(session, caller.organisation_id, model_id)
    roles = roles_by_pool(session, caller.organisation_id)
    return ModelOut.shown_to(row, caller.organisation_id, roles)


@router.delete(
    "/{model_id}",
    responses=responses(errors.ModelNotFound, errors.RoleRequired, errors.ModelInUse),
)
def delete_model(
    model_id: str, session: SessionDep, store: StoreDep, caller: ModelWriter
) -> ModelOut:
    """Withdraw a model: delete its bytes and ensembles, cancel its builds, mark what learnt.

    Whoever contributed it always can; of other members' models the pool's curators and owners can.
    """
    row = withdraw_model(session, store, caller.organisation_id, model_id)
    roles = roles_by_pool(session, caller.organisation_id)
    return ModelOut.shown_to(row, caller.organisation_id, roles)
