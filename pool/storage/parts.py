"""What the server asks of a store about uploads that arrive in parts, and how they are cut.

S3's own terms hold for every store, so that clients need to know one protocol: parts of 5 MiB to
5 GiB, the last as small as it is, at most 10,000 of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from pool.errors import InvalidInput
from pool.settings import MIB, Settings

MIN_PART_BYTES = 5 * MIB
MAX_PART_BYTES = 5 * 1024 * MIB
MOST_PARTS = 10_000
USUAL_PART_BYTES = 16 * MIB
USUAL_MOST_PARTS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """How an upload is cut: parts 1, 2, ... of `part_bytes`, and a last one with the rest."""

    size_bytes: int
    part_bytes: int

    @property
    def n_parts(self) -> int:
        """How many parts there are."""
        return -(-self.size_bytes // self.part_bytes)

    def offset(self, number: int) -> int:
        """Where a part begins in the file."""
        return (number - 1) * self.part_bytes

    def length(self, number: int) -> int:
        """How many bytes a part has."""
        return min(self.part_bytes, self.size_bytes - self.offset(number))


def plan_parts(size_bytes: int, part_bytes: int | None = None) -> PartPlan:
    """Cut an upload into parts of the size that its client wishes, or of a usual one.

    Raises:
        InvalidInput: the wished size makes more than 10,000 parts.
    """
    if part_bytes is None:
        needed = -(-size_bytes // USUAL_MOST_PARTS)
        part_bytes = max(USUAL_PART_BYTES, -(-needed // MIB) * MIB)
    plan = PartPlan(size_bytes=size_bytes, part_bytes=part_bytes)
    if plan.n_parts > MOST_PARTS:
        raise InvalidInput(
            f"That makes {plan.n_parts:,} parts of at most {MOST_PARTS:,}; choose a larger "
            "part_size, or leave it out.",
            part="body/part_size",
        )
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part that arrived whole."""

    number: int
    size_bytes: int
    etag: str
    """The store's name for the bytes: S3's ETag, or their SHA-256 where parts come to the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """Parts that a store holds and that are no object yet."""

    key: str
    token: str
    begun_at: datetime


class PartWriter(Protocol):
    """A part under way to a store that has no URL of its own for it."""

    def write(self, block: bytes | bytearray) -> None:
        """Append."""

    def commit(self) -> Part:
        """Keep the part, in place of an earlier one of its number."""

    def close(self) -> None:
        """Forget what was written, unless it was kept; cheap enough for an event loop."""


class PartStore(Protocol):
    """Parts of objects to come, grouped under tokens. Raises what an ObjectStore raises."""

    presigns: bool
    """Whether clients send parts to the store itself, by URLs that carry a signature."""

    def begin(self, key: str) -> str:
        """Prepare for the parts of one object; the token names them."""

    def url(self, key: str, token: str, number: int, *, size: int, expires_s: int) -> str:
        """Where a client sends one part of exactly `size` bytes, without any key.

        Raises:
            NotImplementedError: the store does not presign.
        """

    def writer(self, token: str, number: int) -> PartWriter:
        """Where the API itself puts one part.

        Raises:
            NotImplementedError: the store presigns.
        """

    def received(self, key: str, token: str) -> list[Part]:
        """The parts that arrived, by number; none if they became an object or were discarded."""

    def assemble(self, key: str, token: str, parts: Sequence[Part]) -> None:
        """Make the object of its parts; whoever reads sees all of it or nothing.

        Raises:
            ObjectMissing: the parts are not there (any more).
        """

    def discard(self, key: str, token: str) -> None:
        """Delete the parts; if they are gone, that is no error."""

    def unfinished(self) -> Iterator[Unfinished]:
        """Everything that was begun and neither became an object nor was discarded."""


def open_parts(settings: Settings) -> PartStore:
    """The part store beside the object store that the settings name."""
    url = urlparse(settings.storage)
    if url.scheme == "s3":
        from pool.storage.s3_parts import S3Parts

        return S3Parts(settings, bucket=url.netloc)
    from pool.storage.directory_parts import DirectoryParts

    return DirectoryParts(Path(unquote(url.path)))
