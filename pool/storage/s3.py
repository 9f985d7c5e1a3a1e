"""An object store in an S3 bucket (MinIO or any other), through the minio SDK.

Uses only put, get, head, delete and list: what every S3 server does alike.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error

from pool.errors import ObjectMissing, StorageFull, StorageUnavailable
from pool.settings import Settings

PART_BYTES = 16 * 1024 * 1024
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
BLOCK_BYTES = 1024 * 1024
MISSING = ("NoSuchKey", "NoSuchObject", "NoSuchUpload")
FULL = ("XMinioStorageFull", "InsufficientCapacity", "QuotaExceeded")


class S3Store:
    """Objects in one bucket, which must exist or be creatable."""

    def __init__(self, settings: Settings, *, bucket: str) -> None:
        self._bucket = bucket
        self._bucket_is_there = False
        self._client = make_client(settings)

    def put(self, key: str, stream: BinaryIO, size: int) -> None:
        """Store the stream; the store shows an object only once it is whole."""
        self.ensure_bucket()
        with as_pool_errors(key):
            self._client.put_object(self._bucket, key, stream, size, part_size=PART_BYTES)

    def fetch(self, key: str, path: Path) -> None:
        """Copy an object into a file."""
        self.ensure_bucket()
        with as_pool_errors(key):
            self._client.fget_object(self._bucket, key, str(path))

    def size(self, key: str) -> int | None:
        """The length of an object; None if there is none."""
        self.ensure_bucket()
        try:
            with as_pool_errors(key):
                return self._client.stat_object(self._bucket, key).size
        except ObjectMissing:
            return None

    def blocks(self, key: str) -> Iterator[bytes]:
        """An object's bytes, a block at a time."""
        self.ensure_bucket()
        with as_pool_errors(key):
            response = self._client.get_object(self._bucket, key)
            try:
                yield from response.stream(BLOCK_BYTES)
            finally:
                response.close()
                response.release_conn()

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        self.ensure_bucket()
        try:
            with as_pool_errors(key):
                self._client.remove_object(self._bucket, key)
        except ObjectMissing:
            return

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with `prefix`."""
        self.ensure_bucket()
        with as_pool_errors(prefix):
            for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                if found.object_name is not None:
                    yield found.object_name

    def older(self, prefix: str, age_s: float) -> Iterator[str]:
        """Keys that begin with `prefix` and were written at least so long ago."""
        until = datetime.now(UTC) - timedelta(seconds=age_s)
        self.ensure_bucket()
        with as_pool_errors(prefix):
            for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                if found.object_name and found.last_modified and found.last_modified <= until:
                    yield found.object_name

    def tidy(self, age_s: float) -> int:
        """Nothing: S3 shows no half object, and ends unfinished ones by the bucket's rules."""
        del age_s
        return 0

    def ping(self) -> None:
        """Return if the store answers."""
        with as_pool_errors(self._bucket):
            self._client.bucket_exists(self._bucket)

    def ensure_bucket(self) -> None:
        """Make the bucket unless it is there."""
        if self._bucket_is_there:
            return
        with as_pool_errors(self._bucket):
            if not self._client.bucket_exists(self._bucket):
                self._make_bucket()
        self._bucket_is_there = True

    def _make_bucket(self) -> None:
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            # Another process made it between the question and the act.
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise


def make_client(settings: Settings, *, read_s: float = 60) -> Minio:
    """A client of the server's own: it speaks to the internal endpoint."""
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        region=settings.s3_region,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=read_s),
            retries=urllib3.Retry(total=2, backoff_factor=0.2),
        ),
    )


@contextmanager
def as_pool_errors(key: str) -> Iterator[None]:
    """Say of a failing S3 server what the pool's callers understand; no secret is told."""
    try:
        yield
    except S3Error as error:
        if error.code in MISSING:
            raise ObjectMissing(f"The object {key} is not in the store.") from error
        if error.code in FULL:
            raise StorageFull("The object store is full; nothing was kept.") from error
        raise StorageUnavailable(f"The object store answered {error.code}.") from error
    except InvalidResponseError as error:
        # Some servers describe what is missing in a content type that the SDK takes for no XML.
        if error._code == HTTPStatus.NOT_FOUND:
            raise ObjectMissing(f"The object {key} is not in the store.") from error
        raise StorageUnavailable(f"The object store answered {error._code}.") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise StorageFull("The disk is full; nothing was kept.") from error
        raise StorageUnavailable(
            "The object store does not answer; try again in a moment."
        ) from error
