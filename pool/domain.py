"""The nouns of the pool and the rules on their states; plain Python."""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum


class ModelStatus(StrEnum):
    """Where a pool model stands between upload and use."""

    RECEIVED = "received"  # bytes are in quarantine, nobody looked at them yet
    INSPECTING = "inspecting"  # the airlock is at work
    READY = "ready"  # canonical weights are stored; builds may use it
    REJECTED = "rejected"  # the reason says why; its bytes are gone
    WITHDRAWN = "withdrawn"  # its owner took it back; its bytes are gone


LIVE_MODELS = (ModelStatus.RECEIVED, ModelStatus.INSPECTING, ModelStatus.READY)


class UploadStatus(StrEnum):
    """Where a resumable upload stands; the last four are final."""

    OPEN = "open"  # parts are welcome
    ASSEMBLING = "assembling"  # all parts are there; a job joins and checks them
    COMPLETED = "completed"  # its model exists
    FAILED = "failed"  # the bytes are not what was announced; they are gone
    ABORTED = "aborted"  # its client gave it up; the parts are gone
    EXPIRED = "expired"  # nobody completed it in time; the parts are gone


UPLOADS_UNDER_WAY = (UploadStatus.OPEN, UploadStatus.ASSEMBLING)


class JobKind(StrEnum):
    """What a job does."""

    ASSEMBLE = "assemble"
    INSPECT = "inspect"
    BUILD = "build"


class JobStatus(StrEnum):
    """Where a job stands. Changes only by compare-and-swap, and the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


FINAL_JOBS = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)


class MetaLearnerStatus(StrEnum):
    """Whether a meta-learner should be used."""

    ACTIVE = "active"
    TAINTED = "tainted"  # a pool model it learnt from was withdrawn since
    RETIRED = "retired"


ENSEMBLE = "ensemble"
"""The backbone of a meta-learner that is no network of its own: it holds the pool models."""


class Scope(StrEnum):
    """What an API key may do."""

    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    BUILDS_READ = "builds:read"
    BUILDS_WRITE = "builds:write"
    PREDICT = "predict"
    KEYS_ADMIN = "keys:admin"
    POOLS_ADMIN = "pools:admin"
    AUDIT_READ = "audit:read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: the organisation behind an API key, and what the key may do."""

    organisation_id: str
    key_id: str
    secret_sha256: str
    """Of the secret that was sent: a rotation ends it while the key goes on."""
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an uploader says about a checkpoint."""

    name: str
    backbone: str
    class_names: tuple[str, ...]
    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pool: str = "default"
    domain: str | None = None
    description: str | None = None
    training_data_note: str | None = None
    dp_epsilon: float | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Algorithm name and the numbers it should run with; unnamed numbers keep their defaults."""

    algorithm: str
    config: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """One claimed attempt at a job; `holder` fences it: a run without its lease writes nothing."""

    job_id: str
    kind: JobKind
    subject_id: str
    attempt: int
    holder: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """How a model arranges pictures drawn by chance; comparable with others of its version."""

    version: int
    vector: bytes
    """float32, little-endian."""


def new_id(prefix: str) -> str:
    """A random identifier that says what it names, such as `bld_5f0c...`."""
    return f"{prefix}_{secrets.token_hex(10)}"


def utc_now() -> datetime:
    """The present, with its time zone."""
    return datetime.now(UTC)
