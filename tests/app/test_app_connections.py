"""How long the server keeps what clients and proxies keep."""

from typing import Any

import httpx
import pytest
import uvicorn

from app import main
from pool.settings import Settings

NGINX_S = 60  # `keepalive_timeout` of an upstream block, and AWS's load balancers, by default


def test_an_idle_connection_outlives_the_clients_and_proxies_that_keep_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes first must not be the server: a request on its way to it would be lost."""
    served: list[uvicorn.Config] = []

    def serve(app: Any, **options: Any) -> None:
        served.append(uvicorn.Config(app, **options))

    monkeypatch.setattr(main, "Settings", lambda: settings)
    monkeypatch.setattr(main.logs, "configure", lambda _: None)
    monkeypatch.setattr(uvicorn, "run", serve)
    main.main()

    [config] = served
    kept_by_httpx = httpx._config.DEFAULT_LIMITS.keepalive_expiry
    assert kept_by_httpx is not None
    assert config.timeout_keep_alive > max(kept_by_httpx, NGINX_S)
