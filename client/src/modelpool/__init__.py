"""Modelpool's client: pool trained classifiers, never data.

`Client` and `AsyncClient` speak to a server; `modelpool --help` is the command line.
"""

from modelpool.aio import AsyncClient
from modelpool.client import Client
from modelpool.errors import (
    ModelpoolError,
    NotAuthorised,
    NotLoggedIn,
    Refused,
    Unreachable,
    UnusableFile,
    UploadFailed,
    WrongServer,
)
from modelpool.events import Event
from modelpool.flows import Checkpoint, Watcher, checkpoint_at
from modelpool.records import (
    Adaptation,
    Alias,
    AliasDetail,
    Build,
    Learner,
    LearnerDetail,
    Manifest,
    Model,
    Normalization,
    Outlook,
    Pool,
    Prediction,
    Predictions,
    Upload,
    UploadProgress,
    Usage,
    Version,
)
from modelpool.wire import Patience, Pause

__all__ = [
    "Adaptation",
    "Alias",
    "AliasDetail",
    "AsyncClient",
    "Build",
    "Checkpoint",
    "Client",
    "Event",
    "Learner",
    "LearnerDetail",
    "Manifest",
    "Model",
    "ModelpoolError",
    "Normalization",
    "NotAuthorised",
    "NotLoggedIn",
    "Outlook",
    "Patience",
    "Pause",
    "Pool",
    "Prediction",
    "Predictions",
    "Refused",
    "Unreachable",
    "UnusableFile",
    "Upload",
    "UploadFailed",
    "UploadProgress",
    "Usage",
    "Version",
    "Watcher",
    "WrongServer",
    "checkpoint_at",
]
