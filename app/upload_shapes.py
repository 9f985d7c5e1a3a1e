"""What the API says of resumable uploads."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Self

from pydantic import BaseModel, Field

from pool.database.upload_tables import UploadRow
from pool.domain import UploadStatus, utc_now
from pool.errors import PartMismatch
from pool.settings import Settings
from pool.storage.parts import Part, PartPlan, PartStore
from pool.storage.store import quarantine_key
from pool.usecases.uploads import plan_of


class UploadOut(BaseModel):
    """A resumable upload as a record."""

    id: str
    status: UploadStatus
    reason: str | None = Field(description="Why it failed, or is open again.")
    reason_code: str | None = Field(description="The same, for programs.")
    name: str
    pool: str
    size_bytes: int
    sha256: str | None = Field(description="As announced.")
    part_size: int = Field(description="Bytes of each part but the last.")
    parts: int = Field(description="How many there are.")
    send_key: bool = Field(
        description="Whether to send your API key with the parts. Presigned URLs carry a signature "
        "instead, and an S3 server refuses both at once."
    )
    model_id: str | None = Field(description="What it became, once it is `completed`.")
    created_at: datetime
    expires_at: datetime = Field(description="Until when it can be completed.")

    @classmethod
    def of(cls, row: UploadRow, parts: PartStore) -> Self:
        """The record's public side."""
        return cls(
            id=row.id,
            status=UploadStatus(row.status),
            reason=row.reason,
            reason_code=row.reason_code,
            name=row.manifest["name"],
            pool=row.pool.name,
            size_bytes=row.size_bytes,
            sha256=row.sha256,
            part_size=row.part_bytes,
            parts=plan_of(row).n_parts,
            send_key=not parts.presigns,
            model_id=row.model_id,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )


class UploadPage(BaseModel):
    """Some of the uploads, newest first."""

    items: list[UploadOut]
    next_cursor: str | None


class PartOut(BaseModel):
    """A part that arrived whole."""

    number: int
    size_bytes: int
    etag: str = Field(
        description="The part's SHA-256 where parts go to this API; elsewhere the S3 server's ETag."
    )

    @classmethod
    def of(cls, part: Part) -> Self:
        """The same."""
        return cls(number=part.number, size_bytes=part.size_bytes, etag=part.etag)


class NextPart(BaseModel):
    """A part that is missing, and where it goes."""

    number: int
    offset: int = Field(description="Where it begins in the checkpoint, in bytes.")
    size_bytes: int
    url: str = Field(description="Resolve it against the address that you asked.")
    url_expires_at: datetime = Field(description="Ask for another URL after that.")


class UploadProgress(UploadOut):
    """A resumable upload, the parts that arrived, and those that come next."""

    received: list[PartOut]
    n_missing: int
    next_parts: list[NextPart] = Field(description="Of an open upload, the first missing parts.")

    @classmethod
    def about(
        cls,
        row: UploadRow,
        parts: PartStore,
        received: list[Part],
        *,
        most: int,
        settings: Settings,
    ) -> Self:
        """The record beside what the part store holds."""
        there = {part.number for part in received}
        is_open = row.status == UploadStatus.OPEN
        numbers = range(1, plan_of(row).n_parts + 1) if is_open else ()
        missing = [number for number in numbers if number not in there]
        return cls(
            **UploadOut.of(row, parts).model_dump(),
            received=[PartOut.of(part) for part in received],
            n_missing=len(missing),
            next_parts=list(_next_parts(row, parts, missing[:most], settings)),
        )


def _next_parts(
    row: UploadRow, parts: PartStore, numbers: list[int], settings: Settings
) -> Iterator[NextPart]:
    plan, key = plan_of(row), quarantine_key(row.reserved_id)
    expires_s = settings.part_url_expires_s
    presigned_until = utc_now() + timedelta(seconds=expires_s)
    for number in numbers:
        size = plan.length(number)
        if parts.presigns:
            url = parts.url(key, row.token, number, size=size, expires_s=expires_s)
        else:
            url = f"/v1/uploads/{row.id}/parts/{number}"
        yield NextPart(
            number=number,
            offset=plan.offset(number),
            size_bytes=size,
            url=url,
            url_expires_at=min(presigned_until, row.expires_at)
            if parts.presigns
            else row.expires_at,
        )


def check_number(row: UploadRow, number: int) -> PartPlan:
    """How the upload is cut, if it has a part of this number.

    Raises:
        PartMismatch: it has fewer parts.
    """
    plan = plan_of(row)
    if number > plan.n_parts:
        raise PartMismatch(f"This upload has {plan.n_parts:,} parts; there is no part {number:,}.")
    return plan
