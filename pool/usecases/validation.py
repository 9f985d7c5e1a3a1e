"""A validation set on its way from an order to the build's report: sealed, and not kept.

The ciphertext lies in the object store, its key in SQL; whoever ends the job deletes the key in the
same transaction. docs/adr/0011 argues it.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from pool.database.session import Database
from pool.database.validation_tables import BuildValidationRow
from pool.domain import new_id
from pool.sealing import new_key, seal, unseal
from pool.storage.store import ObjectStore, build_validation_key
from pool.usecases.build import usable_models


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSet:
    """A set that is stored; it counts once a build is created with it."""

    build_id: str
    key: bytes


def largest_images(
    session: Session,
    organisation_id: str,
    *,
    pool_name: str,
    model_ids: Sequence[str] | None,
    seed: int,
) -> tuple[int, int]:
    """Side in pixels and channels: more of an image none of an order's models could see.

    Raises:
        PoolNotFound, ModelNotFound, NoUsableModels: as the order itself would be refused.
    """
    _, models = usable_models(session, organisation_id, pool_name, model_ids, seed=seed)
    return max(m.image_size for m in models), max(m.channels for m in models)


def store_sealed(
    database: Database, store: ObjectStore, packed: bytes, *, n_images: int
) -> SealedSet:
    """Put a packed set into the store, sealed, for a build that is still to be created.

    The reservation comes first, so that the sweep knows what to do with it if this process dies.
    """
    made = SealedSet(build_id=new_id("bld"), key=new_key())
    with database.write() as session:
        session.add(BuildValidationRow(build_id=made.build_id, n_images=n_images))
    sealed = seal(packed, key=made.key, purpose=made.build_id)
    store.put(build_validation_key(made.build_id), io.BytesIO(sealed), len(sealed))
    return made


def hand_over(session: Session, made: SealedSet) -> None:
    """In the transaction that creates the build: from now on it can be opened."""
    session.get_one(BuildValidationRow, made.build_id).key = made.key


def give_up(database: Database, store: ObjectStore, made: SealedSet) -> None:
    """The order was refused after all."""
    store.delete(build_validation_key(made.build_id))
    with database.write() as session:
        session.delete(session.get_one(BuildValidationRow, made.build_id))


def count_images(session: Session, build_id: str) -> int | None:
    """How many images a build's report rests on; None where none were sent."""
    row = session.get(BuildValidationRow, build_id)
    return None if row is None else row.n_images


def open_sealed(
    database: Database, store: ObjectStore, build_id: str, workspace: Path
) -> bytes | None:
    """The packed set of a running build, in memory; None where none was sent.

    Raises:
        ObjectMissing: it is not in the store, or not what was put there.
    """
    with database.read() as session:
        row = session.get(BuildValidationRow, build_id)
    if row is None or row.key is None:
        return None
    path = workspace / "validation.sealed"
    store.fetch(build_validation_key(build_id), path)
    sealed = path.read_bytes()
    path.unlink()
    return unseal(sealed, key=row.key, purpose=build_id)
