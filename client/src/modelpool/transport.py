"""What both clients do alike with httpx: set it up, make its requests, read its answers."""

import platform
from typing import Any

import httpx

from modelpool.credentials import Credentials, credentials, is_loopback, normal_url
from modelpool.errors import NotLoggedIn, Unreachable, WrongServer
from modelpool.records import Version
from modelpool.version import VERSION
from modelpool.wire import Answer, Call

API_VERSION = "v1"
TIMEOUT = httpx.Timeout(120.0, connect=15.0)


def options(login: Credentials) -> dict[str, Any]:
    """Arguments of an httpx client; a proxy never sees what stays on this machine."""
    return {
        "timeout": TIMEOUT,
        "trust_env": not is_loopback(login.url),
        "headers": {"User-Agent": f"modelpool/{VERSION} Python/{platform.python_version()}"},
    }


def request_parts(call: Call[Any], login: Credentials) -> dict[str, Any]:
    """Arguments of `httpx.Client.build_request`, but for a body that is a part of a file."""
    headers = dict(call.headers)
    if call.with_key:
        headers["Authorization"] = f"Bearer {login.key}"
    parts: dict[str, Any] = {
        "method": call.method,
        "url": call.path if "://" in call.path else login.url + call.path,
        "headers": headers,
    }
    if call.query:
        parts["params"] = dict(call.query)
    if call.json is not None:
        parts["json"] = call.json
    if call.files is not None:
        parts["files"] = list(call.files)
        parts["data"] = dict(call.form or {})
    return parts


def answer_of(response: httpx.Response, *, is_file: bool = False) -> Answer:
    """What came back, read whole."""
    if is_file and response.is_success:
        return Answer(response.status_code, response.headers, response.content)
    try:
        content = response.json()
    except ValueError:
        content = None
    return Answer(status=response.status_code, headers=response.headers, content=content)


def unreachable(url: str, error: httpx.TransportError) -> Unreachable:
    """A failure on the way, with what to do; what was sent is not quoted."""
    if isinstance(error, httpx.TimeoutException):
        why = "it did not answer in time"
    elif isinstance(error, httpx.ConnectError):
        why = "no connection could be made"
    else:
        why = f"the connection broke ({type(error).__name__})"
    return Unreachable(
        f"The server at {url} cannot be reached: {why}. Check the address and your network, then "
        "run the same again."
    )


def check_version(url: str, found: Version | None) -> None:
    """Return if this client speaks the server's API.

    Raises:
        WrongServer: it does not.
    """
    if not isinstance(found, dict) or "api" not in found:
        raise WrongServer(f"What answers at {url} is no Modelpool server; check the address.")
    if found["api"] != API_VERSION:
        raise WrongServer(
            f"The server at {url} speaks API {found['api']}, this client {API_VERSION}. Install "
            "the client's release that fits: pip install --upgrade modelpool"
        )


def login_of(url: str | None, key: str | None) -> Credentials:
    """What was given, or else what is known; never a known key for a given address.

    Raises:
        NotLoggedIn: one was given without the other, or nothing is known.
    """
    if url is None and key is None:
        return credentials()
    if url is None or key is None:
        raise NotLoggedIn("Give both url and key, or neither to use those of `modelpool login`.")
    return Credentials(url=normal_url(url), key=key, source="arguments")
