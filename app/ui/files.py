"""The pages' files: read once, and what a browser is told about them.

Covered: no page is made from anything but these files; the API is the only way in. The policy
forbids scripts and styles in a page, other hosts, frames, and forms that leave.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pool.settings import Settings
from pool.storage.s3_parts import public_url

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is sent."""

    data: bytes
    kind: str
    etag: str
    """The same on every replica of a release."""


def read_files(directory: Path = STATIC) -> dict[str, PageFile]:
    """Every file below the directory, by its path there."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.suffix in KINDS:
            data = path.read_bytes()
            etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
            name = path.relative_to(directory).as_posix()
            found[name] = PageFile(data=data, kind=KINDS[path.suffix], etag=etag)
    return found


def page_headers(settings: Settings) -> Mapping[str, str]:
    """What goes with every file: ask again before use, load nothing from elsewhere, tell nobody."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": " ".join(["'self'", *_upload_origin(settings)]),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "geolocation=(), microphone=()",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def _upload_origin(settings: Settings) -> list[str]:
    """Where the parts of large uploads go when not to this server."""
    if not settings.storage_url.startswith("s3://"):
        return []
    parts = urlsplit(public_url(settings))
    return [f"{parts.scheme}://{parts.netloc}"]
