"""The API keeps to its own description, whatever is sent to it (schemathesis, over a socket).

Bounded by EXAMPLES an operation, and always the same ones.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck
from hypothesis import settings as trials
from live import serving
from PIL import Image
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import negative_data_rejection
from sqlalchemy import select

from app.adaptations import Adaptation
from app.main import create_app
from pool.database import jobs
from pool.database.tables import BuildModelRow, BuildRow, MetaLearnerRow, OrganisationRow, PoolRow
from pool.database.upload_tables import UploadRow
from pool.domain import JobKind, JobStatus, Scope, utc_now
from pool.settings import Settings
from pool.setup import migrate
from pool.storage.parts import MIN_PART_BYTES
from pool.storage.store import meta_learner_key
from pool.usecases.aliases import move_alias
from pool.usecases.bootstrap import bootstrap
from pool.usecases.keys import create_key
from tests.factories import ADMIN, model_row

EXAMPLES = 15
COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
CONFIG = {
    "seed": 0,
    "checks": {
        # A request of the right form may still be refused for what it says: an unknown backbone,
        # a pool without models.
        "positive_data_acceptance": {"enabled": False},
    },
}
BOUNDED = trials(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
KEY = {"Authorization": f"Bearer {ADMIN}"}
NO_LIMITS = {
    "requests_per_minute": 0,
    "predictions_per_minute": 0,
    "anonymous_per_minute": 0,
    "failed_keys_per_minute": 0,
}

api = schemathesis.openapi.from_dict(
    json.loads(COMMITTED.read_text()), config=SchemathesisConfig.from_dict(CONFIG)
)


class Served(NamedTuple):
    """A deployment under test."""

    url: str
    existing: dict[str, str]
    """Ids of things that exist, by the names of path parameters."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, meta_learner_file: Path) -> Iterator[Served]:
    """A server without rate limits over an embedded deployment that holds one of each thing."""
    settings = Settings(var=tmp_path_factory.mktemp("contract"), threads=1, **NO_LIMITS)
    migrate(settings.database)
    app = create_app(settings)
    bootstrap(app.state.database, ADMIN)
    existing = one_of_each(app, meta_learner_file.read_bytes())
    with serving(app) as url:
        yield Served(url, existing)


def one_of_each(app: FastAPI, learner: bytes) -> dict[str, str]:
    """Put a model, a build, its meta-learner, an upload and a further key in, and a stranger."""
    now = utc_now()
    with app.state.database.write() as session:
        pool = session.scalars(select(PoolRow)).one()
        owner = {"organisation_id": pool.organisation_id, "pool_id": pool.id}
        model = model_row(pool)
        build = BuildRow(id="bld_1", **owner, algorithm="free", config={}, seed=0)
        build.meta_learner_id = "ml_1"
        build.job = jobs.create(session, JobKind.BUILD, build.id)
        build.job.status, build.job.finished_at = JobStatus.SUCCEEDED, now
        build.snapshot = [BuildModelRow(position=0, model_id=model.id, canonical_sha256="0" * 64)]
        session.add_all([model, build, OrganisationRow(id="org_2", name="another")])
        session.flush()
        meta_learner = MetaLearnerRow(
            id="ml_1",
            **owner,
            build_id=build.id,
            object_key=meta_learner_key("bld_1", "ml_1"),
            sha256=hashlib.sha256(learner).hexdigest(),
            size_bytes=len(learner),
            backbone="conv4",
            image_size=16,
            channels=1,
            report={"steps": 3},
        )
        upload = UploadRow(
            id="upl_1",
            **owner,
            manifest={"name": "an upload"},
            size_bytes=6,
            part_bytes=MIN_PART_BYTES,
            token=app.state.parts.begin("quarantine/mdl_2"),
            reserved_id="mdl_2",
            expires_at=now + timedelta(days=1),
        )
        session.add_all([meta_learner, upload])
        session.flush()
        alias = move_alias(
            session, pool.organisation_id, pool.id, "production", meta_learner_id="ml_1"
        ).name
        key, _ = create_key(session, pool.organisation_id, name="further", scopes=tuple(Scope))
    app.state.store.put(meta_learner.object_key, io.BytesIO(learner), len(learner))
    return {
        "model_id": model.id,
        "build_id": "bld_1",
        "meta_learner_id": "ml_1",
        "upload_id": upload.id,
        "number": "1",
        "adaptation_id": adaptation_of(app, pool.organisation_id, meta_learner).id,
        "key_id": key.id,
        "pool": pool.id,
        "organisation_id": "org_2",
        "alias": alias,
        "code": "model-not-found",
    }


def adaptation_of(app: FastAPI, organisation_id: str, learner: MetaLearnerRow) -> Adaptation:
    """A classifier in the server's memory."""
    image = io.BytesIO()
    Image.effect_noise((16, 16), 90).save(image, "PNG")
    adapted = app.state.inference.adapt(
        learner.object_key, support=[image.getvalue()] * 4, labels=["a", "b"] * 2
    )
    kept: Adaptation = app.state.adaptations.keep(organisation_id, learner.id, adapted)
    return kept


def check(case: Case, url: str, *, wrong: bool = True) -> None:
    """Ask, and hold the answer to the description: status, headers, type and form.

    Args:
        case: what is asked.
        url: whom.
        wrong: whether what was meant to be wrong still is, and must be refused.
    """
    unasked = [] if wrong else [negative_data_rejection]
    case.call_and_validate(base_url=url, headers=KEY, timeout=60, excluded_checks=unasked)


def is_wrong_beside_path_and_key(case: Case) -> bool:
    """Whether something in the query or the body is meant to be wrong."""
    parts = case.meta.components if case.meta else {}
    asked = (ParameterLocation.QUERY, ParameterLocation.BODY)
    return any(parts[where].mode.is_negative for where in asked if where in parts)


@api.parametrize()
@BOUNDED
def test_every_answer_is_one_that_the_description_promises(served: Served, case: Case) -> None:
    check(case, served.url)


@api.include(path_regex="{").parametrize()
@BOUNDED
def test_so_is_every_answer_about_things_that_exist(served: Served, case: Case) -> None:
    wrong = is_wrong_beside_path_and_key(case)
    case.path_parameters = {name: served.existing[name] for name in case.path_parameters}
    check(case, served.url, wrong=wrong)
