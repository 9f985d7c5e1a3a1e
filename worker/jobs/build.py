"""Build a meta-learner: teachers, recipe, training with checkpoints, the result stored."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sqlalchemy.orm import selectinload

from ml.algorithms import ALGORITHMS
from ml.delivered import Delivered, save_delivered
from ml.errors import CheckpointMismatch, MlError
from ml.reporting.ahead import Ahead, rehearse
from ml.reporting.packing import unpack
from ml.reporting.report import make_report, not_estimated
from ml.reporting.size import size_for
from ml.state import load_state, save_state
from ml.types import TrainingState
from pool import logs
from pool.database import jobs
from pool.database.tables import BuildModelRow, BuildRow, MetaLearnerRow
from pool.domain import JobRun, JobStatus, new_id
from pool.errors import LeaseLost, ObjectMissing
from pool.storage.store import build_state_key, build_validation_key, meta_learner_key
from pool.usecases.build import record_meta_learner
from pool.usecases.resume import note_saved
from pool.usecases.validation import count_images, open_sealed
from worker.context import JobContext
from worker.progress import ProgressLog
from worker.teachers import file_sha256, load_teachers

log = logging.getLogger(__name__)


def build_meta_learner(context: JobContext, run: JobRun) -> None:
    """Train over the build's snapshot, from its last saved state if there is one, and deliver."""
    build = _load_build(context, run.subject_id)
    progress = ProgressLog(context, run)
    try:
        with context.workspace(run) as workspace:
            built = _train(context, run, build, workspace, progress)
            _deliver(context, run, build, workspace, built)
    except MlError as error:
        with context.database.write() as session:
            jobs.finish(
                session, run, JobStatus.FAILED, error_code="cannot-be-built", error=str(error)
            )
    for key in (build_state_key(build.id), build_validation_key(build.id)):
        context.store.delete(key)


def _load_build(context: JobContext, build_id: str) -> BuildRow:
    with context.database.read() as session:
        models = selectinload(BuildRow.snapshot).joinedload(BuildModelRow.model)
        return session.get_one(BuildRow, build_id, options=[models])


def _train(
    context: JobContext, run: JobRun, build: BuildRow, workspace: Path, progress: ProgressLog
) -> tuple[Delivered, dict[str, Any]]:
    """What was built, and its report."""
    device = choose_device(context.settings.device)
    torch.set_num_threads(context.settings.threads)
    _say(context, run, f"Loading {len(build.snapshot)} teachers.")
    teachers = load_teachers(build.snapshot, context.store, workspace, device)
    algorithm = ALGORITHMS[build.algorithm]
    config = algorithm.configure(build.config)
    resume_from = _saved_state(context, build, workspace)
    _say(
        context,
        run,
        f"Training on {device.type}, attempt {run.attempt}, "
        + ("from the start." if resume_from is None else "from the last saved state."),
    )

    def save(state: TrainingState) -> None:
        path = workspace / "state.safetensors"
        save_state(path, state)
        with context.database.write() as session:
            jobs.reset_attempts(session, run)  # and make sure that this run still counts
            note_saved(session, build.id)
        with path.open("rb") as stream:
            context.store.put(build_state_key(build.id), stream, path.stat().st_size)

    size = size_for(config.effort)
    with context.database.read() as session:
        images = count_images(session, build.id)
    ahead = Ahead(
        progress, rehearse(teachers, size, images=images), resumed=resume_from is not None
    )
    learner = algorithm.train(
        teachers,
        config,
        rng=torch.Generator().manual_seed(build.seed),
        device=device,
        report=ahead,
        save=save,
        resume_from=resume_from,
    )
    facts = _facts(build, progress)
    domains = [each.model.domain for each in build.snapshot]
    examine = partial(make_report, learner, teachers, size=size, domains=domains, report=ahead)
    return learner, facts | _examined(context, build, workspace, examine)


def _examined(
    context: JobContext, build: BuildRow, workspace: Path, examine: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Accuracy beside baselines. What was built in hours is delivered also where this breaks."""
    # Another seed than any build's own, also in the 32 bits that torch looks at.
    rng = torch.Generator().manual_seed(build.seed + 2**31)
    try:
        packed = open_sealed(context.database, context.store, build.id, workspace)
        return examine(rng=rng, validation=unpack(packed) if packed else None)
    except ObjectMissing:
        return not_estimated("the validation set is gone from the store or was changed there.")
    except MlError as error:
        return not_estimated(f"{error}.")
    except RuntimeError as error:  # torch's own, such as too little memory
        log.error("the report broke down", extra=logs.failure(error))
        return not_estimated("the computation broke down; the operator's log has the place.")


def choose_device(wanted: str) -> torch.device:
    """The device that the settings name; `auto` is CUDA when there is one."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def _saved_state(context: JobContext, build: BuildRow, workspace: Path) -> TrainingState | None:
    """What an earlier attempt saved, else the build that this one was resumed from.

    An unreadable state means starting again, not failing.
    """
    path = workspace / "resume.safetensors"
    for build_id in filter(None, (build.id, build.resumed_from)):
        try:
            context.store.fetch(build_state_key(build_id), path)
            return load_state(path)
        except ObjectMissing:
            continue
        except CheckpointMismatch as error:
            log.warning("the saved state is unusable; starting again", extra=logs.failure(error))
            return None
    return None


def _deliver(
    context: JobContext,
    run: JobRun,
    build: BuildRow,
    workspace: Path,
    built: tuple[Delivered, dict[str, Any]],
) -> None:
    """Store the meta-learner, then its record and the job's success in one transaction."""
    learner, report = built
    path = workspace / "meta-learner.safetensors"
    save_delivered(path, learner)
    row = MetaLearnerRow(
        id=new_id("ml"),
        organisation_id=build.organisation_id,
        pool_id=build.pool_id,
        build_id=build.id,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        backbone=learner.backbone,
        image_size=learner.image_size,
        channels=learner.channels,
        report=report,
        object_key="",
    )
    row.object_key = meta_learner_key(build.id, row.id)
    with path.open("rb") as stream:
        context.store.put(row.object_key, stream, row.size_bytes)
    try:
        with context.database.write() as session:
            record_meta_learner(session, session.get_one(BuildRow, build.id), row)
            jobs.finish(session, run, JobStatus.SUCCEEDED)
    except LeaseLost:
        context.store.delete(row.object_key)
        raise


def _facts(build: BuildRow, progress: ProgressLog) -> dict[str, Any]:
    """What training was like; asked before the report begins."""
    last = progress.last
    return {
        "n_teachers": len(build.snapshot),
        "steps": last.total_steps if last else 0,
        "seconds_of_last_attempt": round(progress.seconds, 1),
        "last_metrics": dict(last.metrics) if last else {},
    }


def _say(context: JobContext, run: JobRun, message: str) -> None:
    with context.database.write() as session:
        jobs.record(session, run, "log", {"message": message})
