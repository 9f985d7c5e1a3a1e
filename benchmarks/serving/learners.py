"""A meta-learner of random weights to be asked: its answers cost what real ones do."""

import hashlib
from pathlib import Path

import torch

from benchmarks.serving.records import START
from ml.backbones import build, initialize
from ml.learner import MetaLearner, save_meta_learner

SIDE = 32


def add_learner(database_url: str, objects: Path, pool_id: str) -> str:
    """Put a conv4 for grey images of SIDE pixels into the pool; its id.

    Args:
        database_url: where its record goes.
        objects: the directory that the deployment stores objects in.
        pool_id: which the caller may ask meta-learners of.
    """
    # Imported late, as in records.py.
    from sqlalchemy import MetaData, create_engine, select

    backbone = build("conv4", n_classes=5, channels=1, image_size=SIDE)
    initialize(backbone, torch.Generator().manual_seed(0))
    learner = MetaLearner(
        backbone="conv4", n_way=5, image_size=SIDE, channels=1, mean=(0.5,), std=(0.25,),
        tensors=dict(backbone.state_dict()),
    )  # fmt: skip
    key = "meta-learners/bld_bench/ml_bench.safetensors"
    (objects / key).parent.mkdir(parents=True)
    save_meta_learner(objects / key, learner)
    data = (objects / key).read_bytes()
    engine = create_engine(database_url)
    tables = MetaData()
    tables.reflect(engine)
    pools = tables.tables["pools"]
    with engine.begin() as connection:
        owner = connection.scalar(select(pools.c.organisation_id).where(pools.c.id == pool_id))
        shared = {"organisation_id": owner, "pool_id": pool_id, "created_at": START}
        connection.execute(tables.tables["jobs"].insert().values(
            id="job_bench", kind="build", subject_id="bld_bench", status="succeeded", attempt=1,
            cancel_requested=False, progress=1.0, created_at=START,
        ))  # fmt: skip
        connection.execute(tables.tables["builds"].insert().values(
            id="bld_bench", job_id="job_bench", algorithm="multi_teacher", config={}, seed=0,
            meta_learner_id="ml_bench", **shared,
        ))  # fmt: skip
        connection.execute(tables.tables["meta_learners"].insert().values(
            id="ml_bench", build_id="bld_bench", status="active", object_key=key,
            sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data), backbone="conv4",
            image_size=SIDE, channels=1, report={}, **shared,
        ))  # fmt: skip
    engine.dispose()
    return "ml_bench"
