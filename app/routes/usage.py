"""What the caller's organisation may use and does use."""

from typing import Annotated, Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from app.deps import SessionDep, SettingsDep, get_caller
from app.errors import responses
from app.threads import ThreadedRoute
from pool.domain import Caller
from pool.settings import Settings
from pool.usecases.quotas import Quotas, Usage, usage

router = APIRouter(prefix="/v1/usage", tags=["usage"], route_class=ThreadedRoute)


class QuotaOut(BaseModel):
    """One quota: what may be used, and what is."""

    limit: int
    used: int


class RatesOut(BaseModel):
    """Requests of one API key a minute; 0 means no limit."""

    requests_per_minute: int
    predictions_per_minute: int


class UsageOut(BaseModel):
    """The organisation's quotas and the API key's rates."""

    organisation_id: str = Field(description="Yours; owners of pools need it to take you in.")
    stored_bytes: QuotaOut = Field(
        description="Of live models and of meta-learners, and announced by uploads under way."
    )
    live_models: QuotaOut = Field(description="Uploads under way included.")
    concurrent_builds: QuotaOut = Field(description="Queued or running.")
    predictions_per_day: QuotaOut = Field(description="Few-shot requests since midnight UTC.")
    rates: RatesOut

    @classmethod
    def of(cls, organisation_id: str, found: Usage, settings: Settings) -> Self:
        """Limit and use side by side."""
        return cls(
            organisation_id=organisation_id,
            **{
                name: QuotaOut(limit=getattr(found.limits, name), used=getattr(found.used, name))
                for name in Quotas.__dataclass_fields__
            },
            rates=RatesOut(
                requests_per_minute=settings.requests_per_minute,
                predictions_per_minute=settings.predictions_per_minute,
            ),
        )


@router.get("", responses=responses())
def get_usage(
    session: SessionDep, settings: SettingsDep, caller: Annotated[Caller, Depends(get_caller)]
) -> UsageOut:
    """Your organisation's quotas and what it uses of them; any key may ask."""
    found = usage(session, caller.organisation_id, Quotas.of_deployment(settings))
    return UsageOut.of(caller.organisation_id, found, settings)
