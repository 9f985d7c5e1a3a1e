"""Where the server is and which key opens it: the environment, or what `modelpool login` kept."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from modelpool.errors import ModelpoolError, NotLoggedIn

URL_VARIABLE, KEY_VARIABLE, PROFILE_VARIABLE = "MODELPOOL_URL", "MODELPOOL_KEY", "MODELPOOL_PROFILE"
DEFAULT_PROFILE = "default"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Credentials:
    """One server and one key for it; printing shows no key."""

    url: str
    key: str
    source: str

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, source={self.source!r})"


def credentials(profile: str | None = None) -> Credentials:
    """What to use here: the environment's values before those that were kept.

    Raises:
        NotLoggedIn: the address or the key is not known.
    """
    profile = profile or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE
    kept = _read().get(profile, {})
    url, key = os.environ.get(URL_VARIABLE), os.environ.get(KEY_VARIABLE)
    if url and not key and url.rstrip("/") != kept.get("url"):
        raise NotLoggedIn(
            f"{URL_VARIABLE} is set, {KEY_VARIABLE} is not, and the key that was kept belongs to "
            f"another address. Set {KEY_VARIABLE}, too, or run: modelpool login"
        )
    if not (url or kept.get("url")) or not (key or kept.get("key")):
        raise NotLoggedIn(
            f"You are not logged in. Run: modelpool login (or set {URL_VARIABLE} and "
            f"{KEY_VARIABLE})"
        )
    source = "environment" if key else f"profile {profile}"
    return Credentials(url=normal_url(url or kept["url"]), key=key or kept["key"], source=source)


def keep(url: str, key: str, profile: str | None = None) -> Path:
    """Keep an address and its key, readable by this account alone; the file's path."""
    kept = _read()
    kept[profile or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE] = {"url": url, "key": key}
    return _write(kept)


def forget(profile: str | None = None) -> bool:
    """Delete what was kept; whether there was anything."""
    kept = _read()
    there = kept.pop(profile or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE, None)
    if there is not None:
        _write(kept)
    return there is not None


def normal_url(text: str) -> str:
    """An address as people type it, as requests need it.

    Raises:
        ModelpoolError: it is none.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ModelpoolError(
            "An address begins with https:// or http://, such as https://pool.example.org"
        )
    path = parts.path.rstrip("/").removesuffix("/docs").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_loopback(url: str) -> bool:
    """Whether requests stay on this machine."""
    return urlsplit(url).hostname in LOOPBACK


def travels_open(url: str) -> bool:
    """Whether a key sent there could be read on the way."""
    return urlsplit(url).scheme == "http" and not is_loopback(url)


def config_path() -> Path:
    """Where logins are kept."""
    return platformdirs.user_config_path("modelpool") / "logins.json"


def _read() -> dict[str, dict[str, str]]:
    try:
        kept = json.loads(config_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelpoolError(
            f"{config_path()} cannot be read ({type(error).__name__}); delete it and run: "
            "modelpool login"
        ) from error
    return kept if isinstance(kept, dict) else {}


def _write(kept: dict[str, dict[str, str]]) -> Path:
    path = config_path()
    write_private(path, json.dumps(kept, indent=1))
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file that only this account can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
