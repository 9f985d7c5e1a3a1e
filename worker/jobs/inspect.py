"""Inspect an upload: through the airlock, onto its backbone, one forward pass, keep or refuse."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from sqlalchemy.orm import Session

from ml import checkpoints
from ml.errors import CheckpointMismatch, MlError, NoBatchNorm, NonFiniteOutput, UnknownBackbone
from ml.fingerprint import VERSION, fingerprint
from ml.reliability import reliability
from ml.types import Teacher
from pool.airlock import Limits, Refused, convert_in_sandbox
from pool.database import jobs
from pool.database.tables import ModelRow
from pool.domain import Fingerprint, JobRun, JobStatus
from pool.storage.store import model_key, quarantine_key
from pool.usecases.inspect import accept_model, begin_inspection, reject_model
from worker.context import DiskFull, JobContext, TryAgain
from worker.teachers import file_sha256, manifest_of

log = logging.getLogger(__name__)

NOISE_SEED = 0
AIRLOCK_FAULT = "airlock-fault"  # the airlock itself failed: a full disk, say
FULL_DISK = ("(ENOSPC)", "(EDQUOT)")  # how its reason names one
ADVICE: dict[type[MlError], str] = {
    CheckpointMismatch: "Upload the state dict of the backbone that the manifest names, or name "
    "the backbone that the state dict belongs to.",
    NoBatchNorm: "Upload a network with BatchNorm and its running statistics (train it with "
    "track_running_stats=True).",
    NonFiniteOutput: "Check the training run and the manifest's normalization, then upload a "
    "checkpoint that gives finite logits in eval mode.",
    UnknownBackbone: "Choose a backbone from the list; others cannot be loaded without running "
    "their code.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What an honest checkpoint turned into."""

    canonical: Path
    canonical_sha256: str
    source_format: str
    n_parameters: int
    fingerprint: Fingerprint
    reliability: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Why a checkpoint is refused, and what its uploader can do."""

    code: str
    reason: str
    recipe: str


def inspect_model(context: JobContext, run: JobRun) -> None:
    """Decide about one upload; its original bytes are gone afterwards."""
    with context.database.write() as session:
        model = begin_inspection(session, run.subject_id)
    if model is not None:
        with context.workspace(run) as workspace:
            _decide(context, run, model, workspace)
    else:
        with context.database.write() as session:
            jobs.finish(session, run, JobStatus.SUCCEEDED)
    context.store.delete(quarantine_key(run.subject_id))


def give_up(session: Session, model_id: str, why: str) -> None:
    """Refuse a model whose inspection broke down."""
    reject_model(
        session,
        model_id,
        code="inspection-failed",
        reason=why,
        recipe="Upload it as .safetensors; if that fails too, tell the server's operator.",
    )


def _decide(context: JobContext, run: JobRun, model: ModelRow, workspace: Path) -> None:
    verdict = examine(context, model, workspace)
    if isinstance(verdict, Accepted):
        with verdict.canonical.open("rb") as stream:
            size = verdict.canonical.stat().st_size
            context.store.put(model_key(model.id), stream, size)
    kept = True
    with context.database.write() as session:
        if isinstance(verdict, Accepted):
            kept = accept_model(
                session,
                model.id,
                object_key=model_key(model.id),
                canonical_sha256=verdict.canonical_sha256,
                source_format=verdict.source_format,
                n_parameters=verdict.n_parameters,
                fingerprint=verdict.fingerprint,
                reliability=verdict.reliability,
            )
        else:
            reject_model(
                session,
                model.id,
                code=verdict.code,
                reason=verdict.reason,
                recipe=verdict.recipe,
            )
        jobs.finish(session, run, JobStatus.SUCCEEDED)
    code = "accepted" if isinstance(verdict, Accepted) else verdict.code
    log.info("checkpoint examined", extra={"code": code})
    if not kept:  # withdrawn while it was being looked at
        context.store.delete(model_key(model.id))


def examine(context: JobContext, model: ModelRow, workspace: Path) -> Accepted | Rejected:
    """Untrusted bytes to canonical weights that load by exact name, or a reason why not."""
    original, converted = workspace / "original", workspace / "converted.safetensors"
    context.store.fetch(quarantine_key(model.id), original)
    largest = max(context.settings.max_upload_bytes, context.settings.max_checkpoint_bytes)
    limits = Limits(
        memory_bytes=context.settings.inspect_memory_bytes,
        max_source_bytes=largest,
        max_output_bytes=largest,
    )
    try:
        report = convert_in_sandbox(original, converted, limits=limits)
        canonical = workspace / "canonical.safetensors"
        teacher = _fit(converted, canonical, model)
    except Refused as refusal:
        if refusal.code == AIRLOCK_FAULT:
            full = any(code in refusal.reason for code in FULL_DISK)
            raise (DiskFull if full else TryAgain)(refusal.reason) from refusal
        return Rejected(code=refusal.code, reason=refusal.reason, recipe=refusal.recipe)
    except MlError as error:
        advice = next((text for kind, text in ADVICE.items() if isinstance(error, kind)), "")
        return Rejected(code=_code_of(error), reason=str(error), recipe=advice)
    finally:
        original.unlink(missing_ok=True)
    return Accepted(
        canonical=canonical,
        canonical_sha256=file_sha256(canonical),
        source_format=report.source_format,
        n_parameters=report.n_parameters,
        fingerprint=Fingerprint(VERSION, fingerprint(teacher).numpy().astype("<f4").tobytes()),
        reliability=reliability(teacher),
    )


def _fit(converted: Path, canonical: Path, model: ModelRow) -> Teacher:
    """Onto the backbone's own names, then load what was written and try it once."""
    manifest = manifest_of(model)
    read = checkpoints.read_canonical(converted)
    fitted = checkpoints.fit(
        read.tensors, manifest, order=read.order, order_is_known=read.order_is_known
    )
    checkpoints.write_teacher(canonical, fitted, manifest)
    teacher = checkpoints.load_teacher(canonical, manifest)
    checkpoints.check_teacher(teacher, rng=torch.Generator().manual_seed(NOISE_SEED))
    return teacher


def _code_of(error: MlError) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
