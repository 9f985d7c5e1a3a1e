"""Pushes that were interrupted: which upload goes on with which bytes.

Covered: a record holds an upload's id and when it expires, under a digest of server, bytes and
manifest; no name, no label, no key, no byte of the checkpoint. Not covered: who reads the file can
tell that something was pushed, and when.
"""

import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path

import platformdirs

from modelpool.credentials import write_private
from modelpool.flows import Checkpoint
from modelpool.records import Manifest, Upload


class Unfinished:
    """The record of one push, if it was interrupted."""

    def __init__(self, url: str, checkpoint: Checkpoint, manifest: Manifest) -> None:
        identity = json.dumps([url, checkpoint.sha256, manifest], sort_keys=True)
        name = hashlib.sha256(identity.encode()).hexdigest()
        self._path = state_dir() / f"{name[:32]}.json"

    @property
    def upload_id(self) -> str | None:
        """The upload to go on with."""
        record = _read(self._path)
        return None if record is None else record["upload_id"]

    def keep(self, upload: Upload) -> None:
        """Remember an upload that has begun."""
        forget_expired()
        record = {"upload_id": upload["id"], "expires_at": upload["expires_at"]}
        write_private(self._path, json.dumps(record))

    def forget(self) -> None:
        """The push is over."""
        self._path.unlink(missing_ok=True)


def state_dir() -> Path:
    """Where the records are."""
    return platformdirs.user_state_path("modelpool") / "uploads"


def forget_expired() -> None:
    """Delete records of uploads that the server has given up by now."""
    now = datetime.now(timezone.utc)
    for path in state_dir().glob("*.json"):
        record = _read(path)
        if record is None or _moment(record["expires_at"]) <= now:
            path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, str] | None:
    """A record; None where there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(record[name]) for name in ("upload_id", "expires_at")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _moment(text: str) -> datetime:
    """A time of the server; Python 3.10 does not read its `Z`."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return datetime.max.replace(tzinfo=timezone.utc)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
