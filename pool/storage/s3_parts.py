"""Parts as S3's multipart uploads; clients send them to the store itself.

The minio SDK has the multipart calls, but not in public: its private ones are used here and
nowhere else, and its version is held below the next major one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from minio import Minio
from minio.datatypes import Part as S3Part

from pool.domain import utc_now
from pool.errors import ObjectMissing
from pool.settings import Settings
from pool.storage.parts import Part, PartWriter, Unfinished
from pool.storage.presign import presigned_put
from pool.storage.s3 import S3Store, as_pool_errors, make_client
from pool.storage.store import QUARANTINE

JOIN_S = 600
"""Joining thousands of parts takes a store longer than other calls."""


class S3Parts:
    """Multipart uploads in one bucket."""

    presigns = True

    def __init__(self, settings: Settings, *, bucket: str) -> None:
        self._settings, self._bucket = settings, bucket
        self._store = S3Store(settings, bucket=bucket)
        self._client: Minio = make_client(settings, read_s=JOIN_S)
        self._public = public_url(settings)

    def begin(self, key: str) -> str:
        """S3's upload id."""
        with self._talking(key):
            token: str = self._client._create_multipart_upload(self._bucket, key, {})
            return token

    def url(self, key: str, token: str, number: int, *, size: int, expires_s: int) -> str:
        """A presigned UploadPart at the public endpoint; made without asking anybody."""
        query = f"partNumber={number}&uploadId={quote(token, safe='-_.~')}"
        return presigned_put(
            f"{self._public}/{self._bucket}/{quote(key)}?{query}",
            length=size,
            region=self._settings.s3_region,
            access_key=self._settings.s3_access_key.get_secret_value(),
            secret_key=self._settings.s3_secret_key.get_secret_value(),
            now=utc_now(),
            expires_s=expires_s,
        )

    def writer(self, token: str, number: int) -> PartWriter:
        """Parts go to the store."""
        raise NotImplementedError

    def received(self, key: str, token: str) -> list[Part]:
        """What S3 lists, page by page."""
        found: list[Part] = []
        marker: str | None = None
        while True:
            try:
                with self._talking(key):
                    page: Any = self._client._list_parts(
                        self._bucket, key, token, part_number_marker=marker
                    )
            except ObjectMissing:
                return []
            found += [
                Part(number=each.part_number, size_bytes=each.size or 0, etag=each.etag)
                for each in page.parts
            ]
            marker = page.next_part_number_marker
            if not page.is_truncated or not marker:
                return sorted(found, key=lambda part: part.number)

    def assemble(self, key: str, token: str, parts: Sequence[Part]) -> None:
        """CompleteMultipartUpload: the store joins them without sending a byte anywhere."""
        named = [S3Part(part.number, part.etag) for part in parts]
        with self._talking(key):
            self._client._complete_multipart_upload(self._bucket, key, token, named)

    def discard(self, key: str, token: str) -> None:
        """AbortMultipartUpload."""
        try:
            with self._talking(key):
                self._client._abort_multipart_upload(self._bucket, key, token)
        except ObjectMissing:
            return

    def unfinished(self) -> Iterator[Unfinished]:
        """What S3 lists below quarantine, also what a one-shot upload left that was killed."""
        at: dict[str, Any] = {"key_marker": None, "upload_id_marker": None}
        while True:
            try:
                with self._talking(QUARANTINE):
                    page: Any = self._client._list_multipart_uploads(
                        self._bucket, prefix=QUARANTINE, delimiter="/", **at
                    )
            except ObjectMissing:  # how some servers say that there never was one
                return
            for each in page.uploads:
                yield Unfinished(
                    key=each.object_name, token=each.upload_id, begun_at=each.initiated_time
                )
            at = {
                "key_marker": page.next_key_marker,
                "upload_id_marker": page.next_upload_id_marker,
            }
            if not page.is_truncated or not page.next_key_marker:
                return

    @contextmanager
    def _talking(self, key: str) -> Iterator[None]:
        """Calls of S3; a multipart upload that is not there is an object missing."""
        self._store.ensure_bucket()
        with as_pool_errors(key):
            yield


def public_url(settings: Settings) -> str:
    """Where clients reach the store: the public endpoint, or the one that this server uses."""
    endpoint = settings.s3_public_endpoint or settings.s3_endpoint
    if "://" in endpoint:
        return endpoint.rstrip("/")
    return f"{'https' if settings.s3_secure else 'http'}://{endpoint}"
