"""Every operation of the API's description, walked by every role and by those who have none.

A new operation without a row in the table fails the walk, so that none can be forgotten. The count
of checks is in docs/ACCESS.md.
"""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from app.main import create_app
from pool.database import jobs
from pool.database.session import Database
from pool.database.tables import ApiKeyRow, BuildRow, MetaLearnerRow, PoolRow
from pool.domain import JobStatus, Manifest, Recipe, Scope, new_id
from pool.roles import PERMITS, Action, Role
from pool.settings import Settings
from pool.storage.parts import plan_parts
from pool.storage.store import build_state_key, meta_learner_key
from pool.usecases.aliases import move_alias
from pool.usecases.build import start_build
from pool.usecases.keys import create_key, revoke_key
from pool.usecases.members import set_member
from pool.usecases.organisations import add_organisation
from pool.usecases.uploads import Announced, open_upload
from tests.factories import model_row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ACCESS.md"
FOREIGN, ANONYMOUS, REVOKED, SCOPELESS = "foreign", "no key", "revoked key", "no scope"
CALLERS = (*Role, FOREIGN, ANONYMOUS, REVOKED, SCOPELESS)


@dataclass(frozen=True)
class Row:
    """What an operation answers."""

    scope: Scope | None
    """None: any key will do, or none is needed."""
    ok: int
    action: Action | None = None
    """Which roles get through; None: it is about the caller's own organisation."""
    listed: bool = False
    """Everybody gets a list, and the shared record is in it where the action is permitted."""
    open: bool = False
    owners_key: bool = False
    """It is about something of the owner's alone, of which nobody else has heard."""


R, W = Scope.MODELS_READ, Scope.MODELS_WRITE
BR, BW = Scope.BUILDS_READ, Scope.BUILDS_WRITE
OPEN = Row(None, 200, open=True)
TABLE = {
    "POST /v1/models": Row(W, 202, Action.UPLOAD),
    "GET /v1/models": Row(R, 200, Action.SEE_MODELS, listed=True),
    "GET /v1/models/{model_id}": Row(R, 200, Action.SEE_MODELS),
    "DELETE /v1/models/{model_id}": Row(W, 200, Action.CURATE),
    "GET /v1/models/{model_id}/lineage": Row(BR, 200, Action.SEE_MODELS),
    "POST /v1/uploads": Row(W, 201, Action.UPLOAD),
    "GET /v1/uploads": Row(R, 200, listed=True, owners_key=True),
    "GET /v1/uploads/{upload_id}": Row(W, 200, owners_key=True),
    "PUT /v1/uploads/{upload_id}/parts/{number}": Row(W, 200, owners_key=True),
    "POST /v1/uploads/{upload_id}/complete": Row(W, 202, owners_key=True),
    "DELETE /v1/uploads/{upload_id}": Row(W, 200, owners_key=True),
    "POST /v1/builds": Row(BW, 202, Action.BUILD),
    "GET /v1/builds": Row(BR, 200, Action.SEE_BUILDS, listed=True),
    "GET /v1/builds/{build_id}": Row(BR, 200, Action.SEE_BUILDS),
    "GET /v1/builds/{build_id}/events": Row(BR, 200, Action.SEE_BUILDS),
    "GET /v1/builds/{build_id}/events/poll": Row(BR, 200, Action.SEE_BUILDS),
    "POST /v1/builds/{build_id}/cancel": Row(BW, 202, Action.CURATE),
    "POST /v1/builds/{build_id}/resume": Row(BW, 202, Action.BUILD),
    "GET /v1/meta-learners": Row(BR, 200, Action.SEE_META_LEARNERS, listed=True),
    "GET /v1/meta-learners/{meta_learner_id}": Row(BR, 200, Action.SEE_META_LEARNERS),
    "POST /v1/meta-learners/{meta_learner_id}/predictions": Row(Scope.PREDICT, 200, Action.PREDICT),
    "POST /v1/meta-learners/{meta_learner_id}/adaptations": Row(Scope.PREDICT, 201, Action.PREDICT),
    "GET /v1/adaptations/{adaptation_id}": Row(Scope.PREDICT, 200, owners_key=True),
    "DELETE /v1/adaptations/{adaptation_id}": Row(Scope.PREDICT, 200, owners_key=True),
    "POST /v1/adaptations/{adaptation_id}/predictions": Row(Scope.PREDICT, 200, owners_key=True),
    "GET /v1/meta-learners/{meta_learner_id}/export": Row(BW, 200, Action.EXPORT),
    "GET /v1/adaptations/{adaptation_id}/export": Row(BW, 200, owners_key=True),
    "GET /v1/pools/{pool}/aliases": Row(BR, 200, Action.SEE_META_LEARNERS),
    "GET /v1/pools/{pool}/aliases/{alias}": Row(BR, 200, Action.SEE_META_LEARNERS),
    "PUT /v1/pools/{pool}/aliases/{alias}": Row(BW, 200, Action.MOVE_ALIASES),
    "DELETE /v1/pools/{pool}/aliases/{alias}": Row(BW, 204, Action.MOVE_ALIASES),
    "GET /v1/pools/{pool}/task-map": Row(R, 200, Action.SEE_MODELS),
    "GET /v2": OPEN,
    "GET /v2/health/live": OPEN,
    "GET /v2/health/ready": OPEN,
    "GET /v2/models/{adaptation_id}": Row(Scope.PREDICT, 200, owners_key=True),
    "GET /v2/models/{adaptation_id}/ready": Row(Scope.PREDICT, 200, owners_key=True),
    "POST /v2/models/{adaptation_id}/infer": Row(Scope.PREDICT, 200, owners_key=True),
    "GET /v1/pools": Row(R, 200, listed=True),
    "POST /v1/pools": Row(W, 201),
    "GET /v1/pools/{pool}/members": Row(R, 200, Action.SEE_MEMBERS),
    "PUT /v1/pools/{pool}/members/{organisation_id}": Row(
        Scope.POOLS_ADMIN, 200, Action.MANAGE_MEMBERS
    ),
    "DELETE /v1/pools/{pool}/members/{organisation_id}": Row(
        Scope.POOLS_ADMIN, 204, Action.MANAGE_MEMBERS
    ),
    "GET /v1/audit": Row(Scope.AUDIT_READ, 200, Action.READ_AUDIT, listed=True),
    "GET /v1/keys": Row(Scope.KEYS_ADMIN, 200, listed=True, owners_key=True),
    "POST /v1/keys": Row(Scope.KEYS_ADMIN, 201),
    "DELETE /v1/keys/{key_id}": Row(Scope.KEYS_ADMIN, 200, owners_key=True),
    "POST /v1/keys/{key_id}/rotate": Row(Scope.KEYS_ADMIN, 201, owners_key=True),
    "GET /v1/usage": Row(None, 200),
    "GET /v1/problems": OPEN,
    "GET /v1/problems/{code}": OPEN,
    "GET /healthz/live": OPEN,
    "GET /healthz/ready": OPEN,
    "GET /version": OPEN,
}


class World:
    """A pool of an owner, a member in each other role, a stranger; things in the pool."""

    def __init__(self, app: FastAPI, pool: PoolRow) -> None:
        self.app, self.database, self.pool = app, app.state.database, pool
        self.organisations: dict[str, str] = {Role.OWNER: pool.organisation_id}
        self.keys: dict[str, str] = {}
        with self.database.write() as session:
            for name in (*(role for role in Role if role is not Role.OWNER), FOREIGN):
                added = add_organisation(session, f"the {name}").id
                self.organisations[name] = added
                if name != FOREIGN:
                    set_member(
                        session, pool.organisation_id, pool.id, member_id=added, roles=[Role(name)]
                    )
            for name, organisation_id in self.organisations.items():
                self.keys[name] = self.key(session, organisation_id, Scope)[1]
            row, self.keys[REVOKED] = self.key(session, pool.organisation_id, Scope)
            revoke_key(session, pool.organisation_id, row.id)
            session.add_all(model_row(pool) for _ in range(2))
        self.model = self.fresh_model()
        self.build = self.fresh_build()
        self.key_id = self.fresh_key()

    def key(self, session: Any, organisation_id: str, scopes: Any) -> tuple[ApiKeyRow, str]:
        return create_key(session, organisation_id, name="a key", scopes=list(scopes))

    def fresh_model(self) -> str:
        row = model_row(self.pool)
        with self.database.write() as session:
            session.add(row)
        return row.id

    def fresh_build(self) -> str:
        with self.database.write() as session:
            build = start_build(
                session,
                self.pool.organisation_id,
                pool_name=self.pool.id,
                recipe=Recipe(algorithm="free"),
                model_ids=None,
                seed=0,
            )
        return build.id

    def fresh_canceled_build(self) -> str:
        """That had saved its state."""
        build_id = self.fresh_build()
        with self.database.write() as session:
            assert jobs.cancel(session, session.get_one(BuildRow, build_id).job_id)
        self.app.state.store.put(build_state_key(build_id), io.BytesIO(b"state"), 5)
        return build_id

    def fresh_key(self) -> str:
        with self.database.write() as session:
            return self.key(session, self.pool.organisation_id, [Scope.PREDICT])[0].id

    def fresh_upload(self) -> str:
        """With its only part."""
        parts = self.app.state.parts
        said = Manifest(
            name="m",
            backbone="conv4",
            class_names=("a", "b"),
            image_size=16,
            channels=1,
            mean=(0.5,),
            std=(0.5,),
            pool=self.pool.id,
        )
        row = open_upload(
            self.database,
            parts,
            self.pool.organisation_id,
            Announced(manifest=said, plan=plan_parts(4), sha256=None),
            expires_s=60,
            on_new=lambda *_: None,
        )
        writer = parts.writer(row.token, 1)
        writer.write(b"data")
        writer.commit()
        return row.id

    def fresh_member(self) -> str:
        with self.database.write() as session:
            added = add_organisation(session, new_id("new")).id
            set_member(
                session,
                self.pool.organisation_id,
                self.pool.id,
                member_id=added,
                roles=[Role.AUDITOR],
            )
        return added

    def client(self, caller: str, scope: Scope | None) -> TestClient:
        if caller == ANONYMOUS:
            return TestClient(self.app, raise_server_exceptions=False)
        key = self.keys.get(caller)
        if caller == SCOPELESS:
            others = [each for each in Scope if each is not scope]
            with self.database.write() as session:
                key = self.key(session, self.pool.organisation_id, others)[1]
        headers = {"Authorization": f"Bearer {key}"}
        return TestClient(self.app, raise_server_exceptions=False, headers=headers)


@pytest.fixture
def world(
    settings: Settings,
) -> World:
    """Without rate limits, which failing keys would reach."""
    unlimited = dict.fromkeys(
        (
            "requests_per_minute",
            "predictions_per_minute",
            "anonymous_per_minute",
            "failed_keys_per_minute",
        ),
        0,
    )
    app = create_app(settings.model_copy(update=unlimited | {"quota_builds": 1000}))
    with app.state.database.read() as session:
        pool = session.scalars(select(PoolRow)).one()
    return World(app, pool)


def expected(row: Row, caller: str) -> int:
    """The status that the table and the roles promise."""
    if row.open:
        return 200
    if caller in (ANONYMOUS, REVOKED):
        return 401
    if caller == SCOPELESS:
        return 200 if row.scope is None else 403
    if row.listed or (row.action is None and not row.owners_key):
        return row.ok
    if row.owners_key:
        return row.ok if caller == Role.OWNER else 404
    assert row.action is not None
    if caller == FOREIGN:
        return 404
    return row.ok if caller in PERMITS[row.action] else 403


def is_shown(row: Row, caller: str) -> bool:
    """Whether a list holds the shared record."""
    if row.owners_key:
        return caller == Role.OWNER
    if row.action is None:
        return caller != FOREIGN
    return caller in PERMITS[row.action]


class Walker:
    """Sends each operation with things that exist, fresh where the operation uses them up."""

    def __init__(self, world: World, learner: str, image: bytes, manifest: dict[str, Any]) -> None:
        self.world, self.learner, self.image, self.manifest = world, learner, image, manifest

    def send(self, operation: str, client: TestClient) -> Any:
        method, path = operation.split()
        world = self.world
        names = {
            "model_id": lambda: world.fresh_model() if method == "DELETE" else world.model,
            "build_id": lambda: world.fresh_build() if method == "POST" else world.build,
            "meta_learner_id": lambda: self.learner,
            "adaptation_id": self.fresh_adaptation,
            "alias": self.alias,
            "pool": lambda: world.pool.id,
            "organisation_id": world.fresh_member,
            "key_id": world.fresh_key,
            "upload_id": world.fresh_upload,
            "number": lambda: "1",
            "code": lambda: "role-required",
        }
        if operation == "POST /v1/builds/{build_id}/resume":
            names["build_id"] = world.fresh_canceled_build
        path = re.sub(r"{(\w+)}", lambda found: names[found[1]](), path)
        return client.request(method, path, **self.body(operation))

    def fresh_adaptation(self) -> str:
        """The owner's; in memory, so nobody's but theirs to see."""
        client = self.world.client(Role.OWNER, Scope.PREDICT)
        operation = "POST /v1/meta-learners/{meta_learner_id}/adaptations"
        return str(self.send(operation, client).json()["id"])

    def alias(self) -> str:
        """Points at the meta-learner, whoever removed it before."""
        world = self.world
        with world.database.write() as session:
            move_alias(
                session,
                world.pool.organisation_id,
                world.pool.id,
                "production",
                meta_learner_id=self.learner,
            )
        return "production"

    def body(self, operation: str) -> dict[str, Any]:
        pool = self.world.pool.id
        if operation == "POST /v1/models":
            said = json.dumps(self.manifest | {"pool": pool})
            return {"data": {"manifest": said}, "files": {"checkpoint": new_id("bytes").encode()}}
        if operation == "POST /v1/uploads":
            return {"json": {"manifest": self.manifest | {"pool": pool}, "size_bytes": 4}}
        if operation.startswith("PUT /v1/uploads"):
            return {"content": b"data"}
        if operation.endswith(("/predictions", "/adaptations")):
            adapts = "/meta-learners/" in operation
            parts = ["support", "support"] if adapts else []
            parts += ["query"] if operation.endswith("/predictions") else []
            files = [(part, ("i", self.image)) for part in parts]
            return {"data": {"labels": ["a", "b"]} if adapts else {}, "files": files}
        image = {"name": "images", "shape": [1, 1, 1, 1], "datatype": "FP32", "data": [0.5]}
        bodies: dict[str, Any] = {
            "POST /v2/models/{adaptation_id}/infer": {"inputs": [image]},
            "POST /v1/builds": {"pool": pool, "recipe": {"algorithm": "free"}},
            "POST /v1/pools": {"name": new_id("p")},
            "POST /v1/keys": {"name": "k", "scopes": ["predict"]},
            "POST /v1/keys/{key_id}/rotate": {},
            "PUT /v1/pools/{pool}/aliases/{alias}": {"meta_learner_id": self.learner},
            "PUT /v1/pools/{pool}/members/{organisation_id}": {"roles": ["builder"]},
        }
        return {"json": bodies[operation]} if operation in bodies else {}


def end(database: Database, build_id: str) -> None:
    """Let the build's stream end."""
    with database.write() as session:
        build = session.get_one(BuildRow, build_id)
        run = jobs.claim(session, build.job_id, holder="run", lease_s=60)
        assert run is not None
        jobs.finish(session, run, JobStatus.SUCCEEDED)


def add_learner(world: World, file: Path) -> str:
    learner_id = new_id("ml")
    with file.open("rb") as stream:
        world.app.state.store.put(
            meta_learner_key(world.build, learner_id), stream, file.stat().st_size
        )
    with world.database.write() as session:
        session.add(
            MetaLearnerRow(
                id=learner_id,
                organisation_id=world.pool.organisation_id,
                pool_id=world.pool.id,
                build_id=world.build,
                object_key=meta_learner_key(world.build, learner_id),
                sha256="0" * 64,
                size_bytes=1,
                backbone="conv4",
                image_size=16,
                channels=1,
                report={},
            )
        )
    return learner_id


def test_every_operation_answers_every_role_as_the_table_says(
    world: World,
    meta_learner_file: Path,
    encode: Callable[..., bytes],
    manifest: dict[str, Any],
) -> None:
    described = {
        f"{method.upper()} {path}"
        for path, operations in world.app.openapi()["paths"].items()
        for method in operations
    }
    assert described == set(TABLE), "an operation of the API has no row, or a row no operation"
    end(world.database, world.build)
    walker = Walker(world, add_learner(world, meta_learner_file), encode(0), manifest)
    shared = {
        "GET /v1/models": world.model,
        "GET /v1/builds": world.build,
        "GET /v1/meta-learners": walker.learner,
        "GET /v1/pools": world.pool.id,
        "GET /v1/keys": world.key_id,
        "GET /v1/uploads": world.fresh_upload(),
        "GET /v1/audit": world.pool.id,
    }
    wrong, checks = [], 0
    with TestClient(world.app):
        for operation, row in TABLE.items():
            for caller in CALLERS:
                answer = walker.send(operation, world.client(caller, row.scope))
                checks += 1
                if answer.status_code != expected(row, caller):
                    wrong.append((operation, caller, answer.status_code, answer.text[:200]))
                elif answer.status_code == 403:
                    code = "not-allowed" if caller == SCOPELESS else "role-required"
                    assert answer.json()["code"] == code, (operation, caller)
                elif row.listed and answer.status_code == 200:
                    checks += 1
                    if (shared[operation] in answer.text) is not is_shown(row, caller):
                        wrong.append((operation, caller, "in the list", answer.text[:200]))
    assert wrong == []
    assert f"**{checks} checks**" in PAGE.read_text(), f"docs/ACCESS.md should say {checks} checks"
