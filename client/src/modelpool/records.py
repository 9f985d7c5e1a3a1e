"""The server's records, as they come: dictionaries with known fields.

A newer server of the same API version may send further fields; they are kept and ignored.
"""

from typing import Any, TypedDict


class Normalization(TypedDict):
    """What training subtracted and divided by, per channel, of images in [0, 1]."""

    mean: list[float]
    std: list[float]


class Manifest(TypedDict, total=False):
    """What an uploader says about a checkpoint; docs/openapi.json, ManifestIn."""

    name: str
    backbone: str
    class_names: list[str]
    n_classes: int
    image_size: int
    channels: int
    normalization: Normalization
    pool: str
    domain: str
    description: str
    training_data_note: str
    dp_epsilon: float
    sha256: str


class Pool(TypedDict):
    """A named set of models to build over."""

    id: str
    name: str
    description: str | None
    roles: list[str]
    models: dict[str, int]
    created_at: str


class Model(TypedDict):
    """A pool model; of other members' models the fields that the roles do not show are None."""

    id: str
    mine: bool
    organisation_id: str | None
    name: str
    pool: str
    backbone: str
    status: str
    reason: str | None
    reason_code: str | None
    recipe: str | None
    class_names: list[str] | None
    image_size: int
    channels: int
    normalization: Normalization | None
    domain: str | None
    description: str | None
    sha256: str | None
    size_bytes: int | None
    n_parameters: int | None
    reliability: float | None
    created_at: str


class Part(TypedDict):
    """A part that arrived whole."""

    number: int
    size_bytes: int
    etag: str


class NextPart(TypedDict):
    """A part that is missing, and where it goes."""

    number: int
    offset: int
    size_bytes: int
    url: str
    url_expires_at: str


class Upload(TypedDict):
    """A resumable upload."""

    id: str
    status: str
    reason: str | None
    reason_code: str | None
    name: str
    pool: str
    size_bytes: int
    sha256: str | None
    part_size: int
    parts: int
    send_key: bool
    model_id: str | None
    created_at: str
    expires_at: str


class UploadProgress(Upload):
    """A resumable upload, what arrived of it and what comes next."""

    received: list[Part]
    n_missing: int
    next_parts: list[NextPart]


class Recipe(TypedDict):
    """An algorithm's name and its numbers."""

    algorithm: str
    config: dict[str, Any]


class Build(TypedDict):
    """A build: how far it is, or what it delivered."""

    id: str
    pool: str
    status: str
    recipe: Recipe
    seed: int
    n_models: int
    progress: float
    stage: str | None
    eta_s: float | None
    meta_learner_id: str | None
    resumed_from: str | None
    saved_at: str | None
    error: str | None
    error_code: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None


class Learner(TypedDict):
    """A meta-learner; `report` is described in docs/algorithms/report.md of the server."""

    id: str
    pool: str
    build_id: str
    status: str
    backbone: str
    image_size: int
    channels: int
    sha256: str
    size_bytes: int
    report: dict[str, Any]
    aliases: list[str]
    created_at: str


class Alias(TypedDict):
    """A name that points at a meta-learner; `address` stands for its id in every request."""

    name: str
    pool: str
    meta_learner_id: str | None
    n_moves: int
    moved_at: str
    address: str


class AliasMove(TypedDict):
    """Where an alias pointed from then on; None: nowhere."""

    seq: int
    meta_learner_id: str | None
    by_organisation_id: str
    note: str | None
    at: str


class AliasDetail(Alias):
    """An alias with its moves, newest first."""

    moves: list[AliasMove]


class LearnerDetail(Learner):
    """A meta-learner with the models it learnt from."""

    model_ids: list[str]


class PredictionCore(TypedDict):
    """What every server says of a query."""

    label: str
    probabilities: dict[str, float]


class Prediction(PredictionCore, total=False):
    """What one query is taken for."""

    nearest_support: int | None
    abstained: bool


class OutlookWarning(TypedDict):
    """What to know before believing an answer."""

    code: str
    message: str


class Outlook(TypedDict):
    """What a support set alone lets expect; docs/algorithms/outlook.md of the server."""

    expected_accuracy: float | None
    interval: tuple[float, float] | None
    images_left_out: int
    alike: list[dict[str, Any]]
    strangeness: float | None
    warnings: list[OutlookWarning]


class PredictionsCore(TypedDict):
    """What every server answers."""

    predictions: list[Prediction]
    timing_ms: float
    stages_ms: dict[str, float]
    meta_learner_id: str
    meta_learner_status: str


class Predictions(PredictionsCore, total=False):
    """One prediction per query image, in the order in which they were sent."""

    outlook: Outlook
    abstention: dict[str, Any] | None


class Adaptation(TypedDict):
    """A meta-learner fitted to one support set, in the server's memory for a while."""

    id: str
    meta_learner_id: str
    labels: list[str]
    n_support: int
    outlook: Outlook
    created_at: str
    expires_at: str


class Version(TypedDict):
    """The server's release and its API's version."""

    version: str
    api: str


class Quota(TypedDict):
    """One quota: what may be used, and what is."""

    limit: int
    used: int


class Usage(TypedDict):
    """The organisation's quotas and the key's rates."""

    organisation_id: str
    stored_bytes: Quota
    live_models: Quota
    concurrent_builds: Quota
    predictions_per_day: Quota
    rates: dict[str, int]
