"""Take a checkpoint in: bytes to quarantine, a record, an inspection job."""

import contextlib
from collections.abc import Callable
from typing import BinaryIO

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pool.database import jobs, repository
from pool.database.audit import Act, record
from pool.database.session import Database
from pool.database.tables import ModelRow
from pool.database.visible import require_role
from pool.domain import JobKind, Manifest, ModelStatus, new_id
from pool.errors import (
    ChecksumMismatch,
    ContributedAlready,
    EmptyCheckpoint,
    ManifestConflict,
    PoolError,
)
from pool.roles import Action
from pool.storage.store import ObjectStore, quarantine_key


def receive_model(
    database: Database,
    store: ObjectStore,
    organisation_id: str,
    manifest: Manifest,
    *,
    stream: BinaryIO,
    size: int,
    sha256: str,
    on_new: Callable[[Session, ModelRow], None] | None = None,
) -> tuple[ModelRow, bool]:
    """Keep an uploaded checkpoint for inspection; the same bytes twice are one model.

    The bytes are stored between two short transactions, so that a slow store holds no lock.

    Args:
        database: where the record goes.
        store: where the bytes go.
        organisation_id: who uploads.
        manifest: what the uploader says of the checkpoint.
        stream: the checkpoint, from its first byte.
        size: its length in bytes.
        sha256: of the bytes received, in hexadecimal.
        on_new: what else belongs into the transaction that keeps a new record.

    Returns:
        The record, and whether it is new.

    Raises:
        PoolNotFound, PoolNameAmbiguous, RoleRequired, EmptyCheckpoint, ChecksumMismatch,
        ManifestConflict, ContributedAlready, StorageFull, StorageUnavailable: nothing was kept.
    """
    _check_bytes(manifest, size=size, sha256=sha256)
    with database.read() as session:
        pool = repository.find_pool(session, organisation_id, manifest.pool, Action.UPLOAD)
        known = repository.find_live_model_by_bytes(session, pool.id, sha256)
    if known is not None:
        return same_model(known, organisation_id, manifest), False
    model = new_model_row(
        organisation_id, pool.id, manifest, model_id=new_id("mdl"), size=size, sha256=sha256
    )
    key = quarantine_key(model.id)
    try:
        store.put(key, stream, size)
        with database.write() as session:
            require_role(session, organisation_id, pool, Action.UPLOAD)  # it may have gone since
            add_model(session, model)
            if on_new is not None:
                on_new(session, model)
    except IntegrityError:
        # Somebody sent the same bytes between the question and the insert.
        store.delete(key)
        with database.read() as session:
            known = repository.find_live_model_by_bytes(session, pool.id, sha256)
        if known is None:
            raise
        return same_model(known, organisation_id, manifest), False
    except BaseException:
        _delete_quietly(store, key)
        raise
    return model, True


def add_model(session: Session, model: ModelRow) -> None:
    """Write the record, the job that inspects it, and the event that it was uploaded."""
    session.add(model)
    session.flush()
    jobs.create(session, JobKind.INSPECT, model.id)
    record(
        session,
        Act.MODEL_UPLOADED,
        model.id,
        pool_id=model.pool_id,
        organisation_id=model.organisation_id,
        detail=model.sha256,
    )


def _check_bytes(manifest: Manifest, *, size: int, sha256: str) -> None:
    if size == 0:
        raise EmptyCheckpoint("The checkpoint part has no bytes; attach the file itself.")
    if manifest.sha256 is not None and manifest.sha256.lower() != sha256:
        raise ChecksumMismatch(
            f"The manifest's sha256 is {manifest.sha256}, the bytes received have {sha256}. "
            "Send the file again, or correct the manifest."
        )


def _delete_quietly(store: ObjectStore, key: str) -> None:
    """Take back what a failed upload stored; the failure that is under way matters more."""
    with contextlib.suppress(PoolError):
        store.delete(key)


def new_model_row(
    organisation_id: str,
    pool_id: str,
    manifest: Manifest,
    *,
    model_id: str,
    size: int,
    sha256: str,
) -> ModelRow:
    """A model as its manifest describes it, whose bytes wait in quarantine."""
    return ModelRow(
        id=model_id,
        organisation_id=organisation_id,
        pool_id=pool_id,
        status=ModelStatus.RECEIVED,
        name=manifest.name,
        backbone=manifest.backbone,
        class_names=list(manifest.class_names),
        image_size=manifest.image_size,
        channels=manifest.channels,
        mean=list(manifest.mean),
        std=list(manifest.std),
        domain=manifest.domain,
        description=manifest.description,
        training_data_note=manifest.training_data_note,
        dp_epsilon=manifest.dp_epsilon,
        sha256=sha256,
        size_bytes=size,
        object_key=quarantine_key(model_id),
    )


def same_model(known: ModelRow, organisation_id: str, manifest: Manifest) -> ModelRow:
    """The known record, unless the manifest now says something else of the same weights.

    Raises:
        ManifestConflict: it does.
        ContributedAlready: it is another member's.
    """
    if known.organisation_id != organisation_id:
        raise ContributedAlready(
            "Another member of the pool has contributed exactly these bytes, and a pool holds a "
            "checkpoint once. Nothing is to be done: builds use it already."
        )
    said = {
        "backbone": (known.backbone, manifest.backbone),
        "class_names": (known.class_names, list(manifest.class_names)),
        "image_size": (known.image_size, manifest.image_size),
        "channels": (known.channels, manifest.channels),
        "normalization.mean": (known.mean, list(manifest.mean)),
        "normalization.std": (known.std, list(manifest.std)),
    }
    changed = [field for field, (before, now) in said.items() if before != now]
    if changed:
        raise ManifestConflict(
            f"These bytes are model {known.id} already, with another {', '.join(changed)}. "
            f"To correct it, DELETE /v1/models/{known.id} first and upload again."
        )
    return known
