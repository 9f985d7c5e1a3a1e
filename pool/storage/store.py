"""What the server asks of an object store, and how its keys are named."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlparse

from pool.settings import Settings


class ObjectStore(Protocol):
    """Bytes under keys. Metadata lives in SQL; checksums are ours, not the store's.

    Every method raises StorageUnavailable when the store does not answer.
    """

    def put(self, key: str, stream: BinaryIO, size: int) -> None:
        """Store `size` bytes read from `stream`; whoever reads sees all of them or none.

        Raises:
            StorageFull: there is no room.
        """

    def fetch(self, key: str, path: Path) -> None:
        """Copy an object into a file.

        Raises:
            ObjectMissing: there is no such object.
        """

    def size(self, key: str) -> int | None:
        """The length of an object in bytes; None if there is none."""

    def blocks(self, key: str) -> Iterator[bytes]:
        """An object's bytes, a block at a time, so that memory does not grow with the object.

        Raises:
            ObjectMissing: there is no such object.
        """

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with `prefix`."""

    def older(self, prefix: str, age_s: float) -> Iterator[str]:
        """Keys that begin with `prefix` and were last written at least so long ago."""

    def tidy(self, age_s: float) -> int:
        """Delete what writes left that broke off so long ago; how many there were."""

    def ping(self) -> None:
        """Return if the store answers."""


QUARANTINE = "quarantine/"
BUILD_STATES = "builds/"
MODELS = "models/"
META_LEARNERS = "meta-learners/"


def quarantine_key(model_id: str) -> str:
    """Where untrusted bytes wait for the airlock."""
    return QUARANTINE + model_id


def model_key(model_id: str) -> str:
    """Where a ready model's canonical weights are kept."""
    return f"{MODELS}{model_id}.safetensors"


def model_of(key: str) -> str:
    """Whose bytes lie under a key of `quarantine/` or `models/`."""
    return key.partition("/")[2].partition(".")[0]


def meta_learner_key(build_id: str, meta_learner_id: str) -> str:
    """Where a meta-learner is kept: each run of a build has a place of its own."""
    return f"{META_LEARNERS}{build_id}/{meta_learner_id}.safetensors"


def build_of(key: str) -> str | None:
    """Which build stored the meta-learner under a key; None for keys of older releases."""
    build_id, within, _ = key.removeprefix(META_LEARNERS).partition("/")
    return build_id if within else None


def build_state_key(build_id: str) -> str:
    """Where a running build keeps what it needs to resume."""
    return f"{BUILD_STATES}{build_id}/state.safetensors"


def build_validation_key(build_id: str) -> str:
    """Where the validation set of an order waits, sealed, for the build's report."""
    return f"{BUILD_STATES}{build_id}/validation.sealed"


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings name: a directory or an S3 bucket."""
    url = urlparse(settings.storage)
    if url.scheme == "file":
        from pool.storage.directory import DirectoryStore

        return DirectoryStore(Path(unquote(url.path)))
    if url.scheme == "s3":
        from pool.storage.s3 import S3Store

        return S3Store(settings, bucket=url.netloc)
    raise ValueError(
        f"MODELPOOL_STORAGE_URL must start with file:// or s3://, not {url.scheme or 'nothing'}"
    )
