"""Metrics for Prometheus, to those who hold the deployment's metrics token."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.deps import SettingsDep, bearer
from app.metrics import Instruments
from app.threads import ThreadedRoute
from pool.errors import NotAuthenticated

router = APIRouter(tags=["operations"], route_class=ThreadedRoute)


@router.get("/metrics", include_in_schema=False)
def get_metrics(
    request: Request,
    settings: SettingsDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Response:
    """Everything in Prometheus's text format.

    Raises:
        NotAuthenticated: without the token, or where none is set: nobody may read then.
    """
    token = settings.metrics_token.get_secret_value()
    given = credentials.credentials if credentials is not None else ""
    if not token or not hmac.compare_digest(given.encode(), token.encode()):
        raise NotAuthenticated(
            "Send the metrics token, `Authorization: Bearer ...`; the operator sets it as "
            "MODELPOOL_METRICS_TOKEN."
        )
    instruments: Instruments = request.app.state.instruments
    return Response(generate_latest(instruments.registry), media_type=CONTENT_TYPE_LATEST)
