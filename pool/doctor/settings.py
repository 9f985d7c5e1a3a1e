"""Settings that contradict each other, and secrets that everybody knows."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from pool.doctor.findings import Finding, failed, ok, warning
from pool.settings import Settings

KNOWN_PASSWORDS = frozenset(
    {"", "admin", "changeme", "guest", "minioadmin", "modelpool", "password", "postgres", "secret"}
)


def check_secrets(settings: Settings) -> Iterator[Finding]:
    """Passwords in URLs that are no secret. What they are is not printed."""
    found = False
    for name, url in (("DATABASE_URL", settings.database), ("BROKER_URL", settings.broker)):
        if urlsplit(url).password in KNOWN_PASSWORDS:  # None, without a password, is not among them
            found = True
            detail = f"the password in MODELPOOL_{name} is one that everybody knows"
            advice = "Give that service a random password and put it into the URL."
            is_production = settings.environment == "production"
            yield (failed if is_production else warning)("secrets", detail, advice)
    if not found:
        yield ok("secrets", "no well-known password")


def check_times(settings: Settings) -> Iterator[Finding]:
    """Times that defeat each other."""
    found = False
    if settings.cancel_grace_s >= settings.lease_s:
        found = True
        yield failed(
            "times",
            f"a job may take {settings.cancel_grace_s:g} s to stop, its lease ends after "
            f"{settings.lease_s:g} s: two workers could run it",
            "Set MODELPOOL_LEASE_S above MODELPOOL_CANCEL_GRACE_S.",
        )
    if settings.resend_after_s < settings.sweep_every_s:
        found = True
        yield warning(
            "times",
            "messages count as lost sooner than the sweep looks for them",
            "Set MODELPOOL_RESEND_AFTER_S above MODELPOOL_SWEEP_EVERY_S.",
        )
    if not found:
        yield ok("times", "lease, sweep and grace fit each other")


def check_exposure(settings: Settings) -> Iterator[Finding]:
    """Who can reach the API, and over what."""
    if settings.environment == "production" and settings.storage.startswith("s3:"):
        if settings.s3_secure or _is_private(settings.s3_endpoint.rpartition(":")[0]):
            yield ok("transport", "the object store is spoken to over TLS or a private network")
        else:
            yield warning(
                "transport",
                "checkpoints travel to the object store without TLS",
                "Set MODELPOOL_S3_SECURE=true, or make sure that the network is private.",
            )
    if settings.environment == "embedded" and not _is_private(settings.host):
        yield warning(
            "exposure",
            f"an embedded server listens on {settings.host}, over plain HTTP",
            "Listen on 127.0.0.1 behind a proxy with TLS, and see docs/OPERATIONS.md.",
        )
    else:
        yield ok("exposure", f"listens on {settings.host}; put TLS in front")


def _is_private(host: str) -> bool:
    """Whether it is this host itself or a name without a dot, as container networks give."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." not in host
