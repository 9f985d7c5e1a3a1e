"""Promise: recovered images exist in a build's memory only."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from factories import (
    QUICK_FREE,
    QUICK_MULTI_TEACHER,
    build_now,
    claim_next,
    order_build,
    small_checkpoint,
    small_manifest,
    upload,
)

from ml.algorithms import multi_teacher
from ml.inversion.refine import Refined
from ml.memory import TaskMemory
from pool.database.session import Database
from pool.domain import JobKind, JobStatus
from pool.settings import Settings
from pool.storage.store import ObjectStore, open_store
from worker.context import JobContext
from worker.jobs import build
from worker.jobs.inspect import inspect_model


class WatchedStore:
    """The real store; looks at the whole state directory each time something is kept."""

    def __init__(self, store: ObjectStore, look: Callable[[], None]) -> None:
        self._store, self._look = store, look

    def put(self, *args: object) -> None:
        self._store.put(*args)  # type: ignore[arg-type]
        self._look()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def rows_of_recovered_images(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Fills, while a build runs, with the middle rows of images as floats and as bytes."""
    rows: set[bytes] = set()
    remember, refine = TaskMemory.put, multi_teacher.refine

    def note(images: torch.Tensor) -> None:
        for image in images[:3]:
            middle = image[0, image.shape[1] // 2]
            for form in (middle, (middle * 255).round().to(torch.uint8)):
                rows.add(form.contiguous().numpy().tobytes())

    def remember_and_note(self: TaskMemory, task: object, images: torch.Tensor) -> None:
        note(images)
        remember(self, task, images)  # type: ignore[arg-type]

    def refine_and_note(*args: object, **more: object) -> Refined:
        refined = refine(*args, **more)  # type: ignore[arg-type]
        note(refined.images)
        return refined

    monkeypatch.setattr(TaskMemory, "put", remember_and_note)
    monkeypatch.setattr(multi_teacher, "refine", refine_and_note)
    return rows


@pytest.mark.parametrize(
    ("algorithm", "config"), [("free", QUICK_FREE), ("multi_teacher", QUICK_MULTI_TEACHER)]
)
def test_no_file_of_a_build_ever_holds_a_recovered_image(
    settings: Settings,
    embedded: Database,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    config: dict[str, object],
) -> None:
    rows = rows_of_recovered_images(monkeypatch)
    looked: list[int] = []

    def look() -> None:
        files = [path for path in Path(settings.var_dir).rglob("*") if path.is_file()]
        for path in files:
            data = path.read_bytes()
            assert not [row for row in rows if row in data], path
        looked.append(len(files))

    context = JobContext(settings=settings, database=embedded, store=open_store(settings))
    for seed in range(2):
        upload(embedded, context.store, small_checkpoint(seed), small_manifest(f"m{seed}"))
        inspect_model(context, claim_next(embedded, JobKind.INSPECT))
    order = order_build(embedded, config, algorithm=algorithm)
    watched = JobContext(
        settings=settings,
        database=embedded,
        store=WatchedStore(context.store, look),  # type: ignore[arg-type]
    )
    build.build_meta_learner(watched, claim_next(embedded, JobKind.BUILD))
    look()

    assert build_now(embedded, order.id).job.status == JobStatus.SUCCEEDED
    assert rows
    assert len(looked) >= 4  # two saved states, the meta-learner, the end
