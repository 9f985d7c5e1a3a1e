"""Every setting of a deployment, read once in each process's entry point."""

from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024


class Settings(BaseSettings):
    """The environment's `MODELPOOL_*` variables; the defaults are the embedded deployment's."""

    model_config = SettingsConfigDict(
        env_prefix="MODELPOOL_",
        ignored_types=(cached_property,),
        env_ignore_empty=True,
        hide_input_in_errors=True,  # a refusal to start is logged, and inputs hold secrets
    )

    environment: Literal["embedded", "production"] = "embedded"
    """`production` refuses embedded parts and missing secrets instead of defaulting to them."""
    host: str = "127.0.0.1"
    port: int = 8000
    var: Path = Path("var")
    """State directory of the embedded default: database, objects, messages, work files."""

    database_url: str = ""
    """SQLAlchemy URL; empty means SQLite under `var`."""
    broker_url: str = ""
    """Celery broker URL; empty means messages as files under `var`."""
    storage_url: str = ""
    """`file:///dir` or `s3://bucket`; empty means a directory under `var`."""
    s3_endpoint: str = ""
    """host:port of the S3 server, without a scheme."""
    s3_public_endpoint: str = ""
    """Where clients reach the S3 server, `https://host:port`; empty means as this server does."""
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    s3_region: str = "us-east-1"
    s3_secure: bool = True
    """Whether the S3 server is spoken to over TLS."""

    metrics_token: SecretStr = SecretStr("")
    """Who sends it as a bearer token may read /metrics; empty means nobody."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """How log lines look; `auto` is JSON in production and text elsewhere."""

    bootstrap_key: SecretStr | None = None
    """The first admin key, for automation; without it one is made and printed once."""

    max_checkpoint_bytes: int = 512 * MIB
    """Largest body of a one-shot checkpoint upload."""
    max_upload_bytes: int = Field(default=8192 * MIB, ge=1)
    """Largest checkpoint of a resumable upload."""
    upload_expires_s: float = Field(default=7 * 24 * 3600.0, gt=0)
    """How long a resumable upload may stay open; then the sweep deletes its parts."""
    part_url_expires_s: int = Field(default=3600, ge=1, le=7 * 24 * 3600)
    """How long a presigned URL of a part is valid."""
    max_prediction_bytes: int = 256 * MIB
    """Largest body of a few-shot request; it is held in memory."""
    body_silence_s: float = Field(default=30.0, gt=0)
    """How long the body of a request may bring nothing; on average it must bring 1 KiB a second."""
    max_image_pixels: int = 40_000_000
    """Largest support or query image, in pixels before resizing."""
    meta_learners_in_memory: int = Field(default=8, ge=1)
    """How many meta-learners the API keeps loaded."""
    adaptation_ttl_s: float = Field(default=3600.0, gt=0)
    """How long an adaptation can be asked."""
    adaptations_bytes: int = Field(default=512 * MIB, ge=1)
    """What the adaptations in one API process's memory may take together."""
    concurrent_predictions: int = Field(default=2, ge=1)
    """Few-shot requests that compute at once; further ones wait their turn."""

    requests_per_minute: int = Field(default=6000, ge=0)
    """Requests of one API key; 0 means no limit, here and below."""
    predictions_per_minute: int = Field(default=1200, ge=0)
    """Few-shot requests of one API key; they count as requests too."""
    anonymous_per_minute: int = Field(default=600, ge=0)
    """Requests without a key, of one address."""
    failed_keys_per_minute: int = Field(default=30, ge=0)
    """Requests with a key that is not valid, of one address."""
    rate_limit_url: str = ""
    """Redis that counts for all replicas; empty means the broker's if that is Redis, else `memory://`,
    each process for itself."""
    trusted_proxies: str = ""
    """Addresses or networks, with commas, whose X-Forwarded-For names the client."""
    quota_bytes: int = Field(default=256 * 1024 * MIB, ge=0)
    """What an organisation's models and meta-learners may take in the object store."""
    quota_models: int = Field(default=10_000, ge=0)
    """Live models of an organisation."""
    quota_builds: int = Field(default=20, ge=0)
    """Builds of an organisation that are queued or running."""
    quota_predictions: int = Field(default=200_000, ge=0)
    """Few-shot requests of an organisation a day (UTC)."""
    max_followers: int = Field(default=1000, ge=1)
    """Clients that follow or wait for jobs at once, in one API process."""
    drain_s: float = Field(default=0.0, ge=0)
    """How long the API goes on taking requests, unready, after it was asked to stop."""
    shutdown_s: float = Field(default=60.0, gt=0)
    """How long the API then waits for requests under way before it ends them."""

    device: str = "auto"
    """Where builds run: `auto` (CUDA when present), `cpu`, `cuda`, `cuda:1`."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of a job, and of the API's predictions; more help only large backbones."""
    lease_s: float = Field(default=30.0, gt=0)
    """How long a running job stays claimed without a sign of life."""
    sweep_every_s: float = Field(default=10.0, gt=0)
    """How often abandoned jobs and lost messages are looked for."""
    state_kept_s: float = Field(default=24 * 3600.0, ge=0)
    """How long the saved state of a build that was canceled or failed stays, to be resumed from."""
    orphans_every_s: float = Field(default=3600.0, gt=0)
    """How often objects that no record names are looked for, which lists the whole store."""
    resend_after_s: float = Field(default=60.0, gt=0)
    """How long a queued job may wait before its message counts as lost."""
    heartbeat_s: float = Field(default=10.0, gt=0)
    """How often a worker gives a sign of life; three missed ones count as its end."""
    cancel_grace_s: float = Field(default=4.0, gt=0)
    """How long a canceled job may take to stop by itself before it is killed."""
    max_attempts: int = Field(default=5, ge=1)
    """How often a job whose process died is started again before it fails."""
    inspect_memory_bytes: int = Field(default=512 * MIB, ge=128 * MIB)
    """Address space of the process that parses one untrusted checkpoint."""

    @model_validator(mode="after")
    def _production_has_no_defaults(self) -> Self:
        if self.environment != "production":
            return self
        needed = {
            "MODELPOOL_DATABASE_URL": self.database_url,
            "MODELPOOL_BROKER_URL": self.broker_url,
            "MODELPOOL_STORAGE_URL": self.storage_url,
        }
        missing = [name for name, value in needed.items() if not value]
        if missing:
            raise ValueError(f"environment is production: set {', '.join(missing)}")
        if self.storage_url.startswith("s3://") and self.s3_secret_key.get_secret_value() in (
            "",
            "minioadmin",
        ):
            raise ValueError(
                "environment is production: MODELPOOL_S3_SECRET_KEY is empty or the store's default"
            )
        return self

    @cached_property
    def var_dir(self) -> Path:
        """The state directory, absolute, so that a child process with another cwd agrees."""
        return self.var.expanduser().resolve()

    @cached_property
    def database(self) -> str:
        """The database's URL, with the embedded default filled in."""
        return self.database_url or f"sqlite:///{self.var_dir / 'modelpool.db'}"

    @cached_property
    def broker(self) -> str:
        """The broker's URL, with the embedded default filled in."""
        return self.broker_url or "filesystem://localhost/"

    @cached_property
    def storage(self) -> str:
        """The object store's URL, with the embedded default filled in."""
        return self.storage_url or (self.var_dir / "objects").as_uri()

    @cached_property
    def rate_limits(self) -> str:
        """Where requests are counted: Redis's URL, or `memory://`."""
        broker = self.broker if self.broker.startswith(("redis://", "rediss://")) else "memory://"
        return self.rate_limit_url or broker

    @property
    def logs_are_json(self) -> bool:
        """Whether log lines are JSON, with `auto` decided."""
        if self.log_format == "auto":
            return self.environment == "production"
        return self.log_format == "json"

    @cached_property
    def work_dir(self) -> Path:
        """Where jobs keep files while they run."""
        return self.var_dir / "work"
