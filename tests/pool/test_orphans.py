"""Objects that no record names go, and nothing else does."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import update

from pool.database.session import Database
from pool.database.tables import BuildRow, JobRow, MetaLearnerRow, ModelRow
from pool.domain import JobStatus, ModelStatus
from pool.storage.directory import DirectoryStore
from pool.storage.store import meta_learner_key, model_key, quarantine_key
from pool.usecases.orphans import UNNAMED_FOR_S, delete_orphans

AddModel = Callable[..., ModelRow]


def put(store: DirectoryStore, key: str) -> str:
    store.put(key, io.BytesIO(b"bytes"), 5)
    return key


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_an_original_without_a_record_goes_after_an_hour(
    database: Database, store: DirectoryStore, objects: Path, add_model: AddModel
) -> None:
    named = put(store, quarantine_key(add_model(ModelStatus.RECEIVED).id))
    old, new = put(store, quarantine_key("mdl_old")), put(store, quarantine_key("mdl_new"))
    for key in (named, old):
        age(objects / key, UNNAMED_FOR_S + 60)
    age(objects / new, UNNAMED_FOR_S - 60)
    assert delete_orphans(database, store) == 1
    assert set(store.keys("")) == {named, new}


def test_half_a_file_whose_writer_was_killed_goes_after_an_hour(
    database: Database, store: DirectoryStore, objects: Path
) -> None:
    old, new = (objects / ".incoming" / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half an upl")
    age(old, UNNAMED_FOR_S + 60)
    assert delete_orphans(database, store) == 1
    assert list((objects / ".incoming").iterdir()) == [new]


def test_weights_go_with_a_model_that_is_no_longer_live(
    database: Database, store: DirectoryStore, add_model: AddModel
) -> None:
    kept, gone = [], []
    for status in ModelStatus:
        key = put(store, model_key(add_model(status).id))
        (gone if status in (ModelStatus.REJECTED, ModelStatus.WITHDRAWN) else kept).append(key)
    unknown = put(store, model_key("mdl_of_a_newer_release"))
    assert delete_orphans(database, store) == len(gone) == 2
    assert set(store.keys("")) == {*kept, unknown}


def test_what_a_build_stored_and_did_not_deliver_goes_once_the_build_has_ended(
    database: Database,
    store: DirectoryStore,
    add_model: AddModel,
    order_build: Callable[..., str],
    add_meta_learner: Callable[[str], MetaLearnerRow],
) -> None:
    add_model(), add_model()
    ended, running = order_build(), order_build()
    delivered = add_meta_learner(ended)
    with database.write() as session:
        job_id = session.get_one(BuildRow, ended).job_id
        session.execute(
            update(JobRow).where(JobRow.id == job_id).values(status=JobStatus.SUCCEEDED)
        )
        named = meta_learner_key(ended, delivered.id)
        session.get_one(MetaLearnerRow, delivered.id).object_key = named
    put(store, named)
    orphan = put(store, meta_learner_key(ended, "ml_of_a_run_that_was_killed"))
    under_way = put(store, meta_learner_key(running, "ml_about_to_be_delivered"))
    older_form = put(store, "meta-learners/ml_1.safetensors")
    assert delete_orphans(database, store) == 1
    assert set(store.keys("")) == {named, under_way, older_form}
    assert orphan not in set(store.keys(""))
