"""The tables. Jobs are the truth about work; builds and models point at them."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    func,
    select,
    text,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    column_property,
    mapped_column,
    relationship,
)

from pool.database.moments import UtcDateTime
from pool.database.names import KEY_CHARS, name_key
from pool.domain import JobKind, JobStatus, MetaLearnerStatus, ModelStatus, utc_now

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
NEWEST = ("created_at", "id")


class Base(DeclarativeBase):
    """What all rows share."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it from the class
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
        list[float]: JSON(),
    }


class OrganisationRow(Base):
    """Who owns models and holds API keys."""

    __tablename__ = "organisations"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ApiKeyRow(Base):
    """An API key; of the key itself only its SHA-256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    previous_sha256: Mapped[str | None] = mapped_column(String(64), unique=True, index=True)
    """Of the secret before the last rotation, which stays valid until then."""
    previous_until: Mapped[datetime | None]


class PoolRow(Base):
    """A named set of pool models."""

    __tablename__ = "pools"
    __table_args__ = (UniqueConstraint("organisation_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    name: Mapped[str] = mapped_column(String(100))
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ModelRow(Base):
    """An uploaded checkpoint, as a record."""

    __tablename__ = "models"
    __table_args__ = (
        Index(
            "uq_models_live_bytes",
            "pool_id",
            "sha256",
            unique=True,
            sqlite_where=text("status IN ('received', 'inspecting', 'ready')"),
            postgresql_where=text("status IN ('received', 'inspecting', 'ready')"),
        ),
        # One index for each way that pool/database/paging.py walks a list, so that a page costs the
        # same however long the list is.
        Index("ix_models_pool_id_created_at_id", "pool_id", "created_at", "id"),
        Index("ix_models_pool_id_name_key_id", "pool_id", "name_key", "id"),
        *(
            Index(f"ix_models_pool_id_{filtered}_created_at_id", "pool_id", filtered, *NEWEST)
            for filtered in ("status", "backbone", "domain")
        ),
        Index("ix_models_owner_created_at_id", "organisation_id", "pool_id", "created_at", "id"),
        Index("ix_models_owner_name_key_id", "organisation_id", "pool_id", "name_key", "id"),
        # What a build over the whole pool uses.
        Index("ix_models_pool_id_status_content", "pool_id", "status", "canonical_sha256", "id"),
        Index("ix_models_status_reason_code", "status", "reason_code"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    pool_id: Mapped[str] = mapped_column(ForeignKey("pools.id"))
    status: Mapped[ModelStatus] = mapped_column(String(20), default=ModelStatus.RECEIVED)
    reason: Mapped[str | None] = mapped_column(Text)
    reason_code: Mapped[str | None] = mapped_column(String(80))
    recipe: Mapped[str | None] = mapped_column(Text)
    """What the uploader can do about a rejection."""
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(
        String(KEY_CHARS).with_variant(String(KEY_CHARS, collation="C"), "postgresql"),
        default=lambda context: name_key(context.get_current_parameters()["name"]),
        server_default="",
    )
    """Names never change. PostgreSQL's collation C orders by bytes, as SQLite and Python do."""
    backbone: Mapped[str] = mapped_column(String(60))
    class_names: Mapped[list[str]]
    image_size: Mapped[int] = mapped_column(Integer)
    channels: Mapped[int] = mapped_column(Integer)
    mean: Mapped[list[float]]
    std: Mapped[list[float]]
    domain: Mapped[str | None] = mapped_column(String(100))
    description: Mapped[str | None] = mapped_column(Text)
    training_data_note: Mapped[str | None] = mapped_column(Text)
    dp_epsilon: Mapped[float | None] = mapped_column(Float)
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the bytes as uploaded."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    object_key: Mapped[str | None] = mapped_column(String(300))
    canonical_sha256: Mapped[str | None] = mapped_column(String(64))
    source_format: Mapped[str | None] = mapped_column(String(40))
    n_parameters: Mapped[int | None] = mapped_column(BigInteger)
    reliability: Mapped[float | None] = mapped_column(Float)
    """0 to 1, as ml.reliability reckons it; it goes with the model's weights."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)

    pool: Mapped[PoolRow] = relationship(lazy="joined")


class JobRow(Base):
    """A unit of worker work. Celery carries its id; this row is the truth."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_status_lease_until", "status", "lease_until"),
        Index("ix_jobs_kind_status_created_at", "kind", "status", "created_at"),
        Index("ix_jobs_finished_at", "finished_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[JobKind] = mapped_column(String(20))
    subject_id: Mapped[str] = mapped_column(String(40), index=True)
    status: Mapped[JobStatus] = mapped_column(String(20), default=JobStatus.QUEUED)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    holder: Mapped[str | None] = mapped_column(String(40), index=True)
    """Names the run that holds the job: every write of a run asks for it, so a stale one writes
    nothing."""
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    eta_s: Mapped[float | None] = mapped_column(Float)
    stage: Mapped[str | None] = mapped_column(String(80))
    error_code: Mapped[str | None] = mapped_column(String(80))
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    sent_at: Mapped[datetime | None]
    """When its message last left; the sweep sends again what waits too long."""
    not_before: Mapped[datetime | None]
    """A job whose process died repeatedly waits until then."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobEventRow(Base):
    """One line of a job's story: a stage, a progress point, a log line."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(default=utc_now)
    kind: Mapped[str] = mapped_column(String(20))
    payload: Mapped[dict[str, Any]]


class BuildRow(Base):
    """One meta-training run over a snapshot of a pool; its job tells how far it is."""

    __tablename__ = "builds"
    __table_args__ = (
        Index("ix_builds_organisation_id_created_at_id", "organisation_id", "created_at", "id"),
        Index("ix_builds_pool_id_created_at_id", "pool_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    pool_id: Mapped[str] = mapped_column(ForeignKey("pools.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    algorithm: Mapped[str] = mapped_column(String(60))
    config: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    meta_learner_id: Mapped[str | None] = mapped_column(String(40))
    saved_at: Mapped[datetime | None]
    """When its state was last saved; None while there is none."""
    resumed_from: Mapped[str | None] = mapped_column(String(40), index=True)
    """The build whose saved state it begins with."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    job: Mapped[JobRow] = relationship(lazy="joined", innerjoin=True)
    pool: Mapped[PoolRow] = relationship(lazy="joined", innerjoin=True)
    snapshot: Mapped[list["BuildModelRow"]] = relationship(order_by="BuildModelRow.position")

    if TYPE_CHECKING:
        n_models: Mapped[int]
        """How many the snapshot holds."""


class BuildModelRow(Base):
    """A pool model as a build saw it: the snapshot outlives changes of the pool."""

    __tablename__ = "build_models"

    build_id: Mapped[str] = mapped_column(ForeignKey("builds.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    canonical_sha256: Mapped[str] = mapped_column(String(64))

    model: Mapped[ModelRow] = relationship()


# From the last position, which the primary key finds at once; a list of builds shows it of each.
BuildRow.n_models = column_property(
    select(func.coalesce(func.max(BuildModelRow.position) + 1, 0))
    .where(BuildModelRow.build_id == BuildRow.id)
    .correlate_except(BuildModelRow)
    .scalar_subquery()
)


class MetaLearnerRow(Base):
    """What a build delivered."""

    __tablename__ = "meta_learners"
    __table_args__ = (
        Index(
            "ix_meta_learners_organisation_id_created_at_id", "organisation_id", "created_at", "id"
        ),
        Index("ix_meta_learners_pool_id_created_at_id", "pool_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    pool_id: Mapped[str] = mapped_column(ForeignKey("pools.id"))
    build_id: Mapped[str] = mapped_column(ForeignKey("builds.id"), unique=True)
    status: Mapped[MetaLearnerStatus] = mapped_column(String(20), default=MetaLearnerStatus.ACTIVE)
    object_key: Mapped[str] = mapped_column(String(300))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    backbone: Mapped[str] = mapped_column(String(60))
    image_size: Mapped[int] = mapped_column(Integer)
    channels: Mapped[int] = mapped_column(Integer)
    report: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    pool: Mapped[PoolRow] = relationship(lazy="joined", innerjoin=True)
    build: Mapped[BuildRow] = relationship()
