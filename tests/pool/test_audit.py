"""The audit trail: an event is there if what it records is, and no change of it is hidden."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

from pool import audit as program
from pool.actors import Actor, acting
from pool.audit import verify
from pool.database import jobs
from pool.database.audit import Act, digest, record
from pool.database.audit_tables import AuditEventRow, AuditHeadRow
from pool.database.session import Database
from pool.database.tables import MetaLearnerRow, ModelRow
from pool.domain import JobKind, JobStatus, ModelStatus, Scope
from pool.roles import Role
from pool.setup import migrate
from pool.storage.directory import DirectoryStore
from pool.usecases.build import cancel_build
from pool.usecases.inspect import accept_model, reject_model
from pool.usecases.keys import create_key, revoke_key
from pool.usecases.members import remove_member, set_member
from pool.usecases.organisations import add_organisation
from pool.usecases.withdraw import withdraw_model


def trail(database: Database) -> list[AuditEventRow]:
    with database.read() as session:
        return list(session.scalars(select(AuditEventRow).order_by(AuditEventRow.seq)))


def write_some(database: Database, organisation_id: str, n_events: int) -> None:
    for number in range(n_events):
        with database.write() as session:
            record(session, Act.POOL_MADE, f"pool_{number}", organisation_id=organisation_id)


def test_every_act_is_recorded_in_its_order_with_who_and_where(
    database: Database,
    organisation_id: str,
    add_model: Callable[..., ModelRow],
    order_build: Callable[..., str],
    add_meta_learner: Callable[[str], MetaLearnerRow],
    store: DirectoryStore,
) -> None:
    before = len(trail(database))
    new, bad = add_model(ModelStatus.RECEIVED), add_model(ModelStatus.RECEIVED)
    add_model()
    pool_id = new.pool_id
    who = Actor(organisation_id=organisation_id, key_id="key_1", request_id="req_1")
    with acting(who), database.write() as session:
        other = add_organisation(session, "other").id
        set_member(session, organisation_id, pool_id, member_id=other, roles=[Role.BUILDER])
        remove_member(session, organisation_id, pool_id, member_id=other)
        row, _ = create_key(session, organisation_id, name="k", scopes=[Scope.PREDICT])
        for _ in range(2):
            revoke_key(session, organisation_id, row.id)
    with database.write() as session:
        accepted = {"canonical_sha256": "0", "source_format": "f", "n_parameters": 1}
        accept_model(session, new.id, object_key="k", **accepted)  # type: ignore[arg-type]
        reject_model(session, bad.id, code="full-pickle", reason="r", recipe="r")
        reject_model(session, bad.id, code="full-pickle", reason="r", recipe="r")
    first, second = order_build(), order_build()
    learner = add_meta_learner(first)
    with database.write() as session:
        cancel_build(session, organisation_id, second)
        job_id = jobs.next_queued(session, JobKind.BUILD)
        assert job_id is not None
        run = jobs.claim(session, job_id, holder="run", lease_s=60)
        assert run is not None
        jobs.finish(session, run, JobStatus.SUCCEEDED)
        withdraw_model(session, store, organisation_id, new.id)

    found = trail(database)[before:]
    assert [(event.action, event.object_id, event.detail) for event in found] == [
        ("organisation-added", other, None),
        ("pool-made", found[1].pool_id, None),
        ("member-changed", other, "builder"),
        ("member-removed", other, None),
        ("key-made", row.id, None),
        ("key-revoked", row.id, None),
        ("model-accepted", new.id, "0"),
        ("model-rejected", bad.id, "full-pickle"),
        ("build-requested", first, "free"),
        ("build-requested", second, "free"),
        ("meta-learner-delivered", learner.id, learner.sha256),
        ("build-ended", second, "canceled"),
        ("build-canceled", second, "free"),
        ("build-ended", first, "succeeded"),
        ("meta-learner-tainted", learner.id, None),
        ("model-withdrawn", new.id, None),
    ]
    acted = {(event.organisation_id, event.key_id, event.request_id) for event in found[:6]}
    assert acted == {(organisation_id, "key_1", "req_1")}
    nobody = {(event.pool_id, event.organisation_id, event.key_id) for event in found[6:]}
    assert nobody == {(pool_id, organisation_id, None)}
    assert verify(database).broken is None


def test_what_is_rolled_back_is_not_recorded(database: Database, organisation_id: str) -> None:
    before = trail(database)

    def fail() -> None:
        with database.write() as session:
            create_key(session, organisation_id, name="k", scopes=[Scope.PREDICT])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(trail(database)) == len(before)


def test_writers_at_once_form_one_chain(database: Database, organisation_id: str) -> None:
    n_writers, n_events = 6, 15
    before = len(trail(database))
    start = threading.Barrier(n_writers)

    def write(number: int) -> None:
        start.wait()
        for step in range(n_events):
            with database.write() as session:
                for each in "ab":
                    record(
                        session,
                        Act.POOL_MADE,
                        f"{number}-{step}-{each}",
                        organisation_id=organisation_id,
                    )

    with ThreadPoolExecutor(n_writers) as threads:
        list(threads.map(write, range(n_writers)))
    found = trail(database)
    assert [event.seq for event in found] == list(range(1, before + 2 * n_writers * n_events + 1))
    names = [event.object_id for event in found[before:]]
    assert len(set(names)) == len(names)
    assert verify(database).broken is None


def change(**values: Any) -> Callable[[Any], None]:
    def tamper(session: Any) -> None:
        session.execute(update(AuditEventRow).where(AuditEventRow.seq == 5).values(**values))

    return tamper


def remove(*seqs: int) -> Callable[[Any], None]:
    def tamper(session: Any) -> None:
        session.execute(delete(AuditEventRow).where(AuditEventRow.seq.in_(seqs)))

    return tamper


def swap(session: Any) -> None:
    for before, after in ((5, 99), (6, 5), (99, 6)):
        session.execute(update(AuditEventRow).where(AuditEventRow.seq == before).values(seq=after))


def alter_and_sign_again(session: Any) -> None:
    event = session.get(AuditEventRow, 5)
    event.object_id = "another"
    event.sha256 = digest(event)


def insert_between(session: Any) -> None:
    last = session.get(AuditEventRow, 8)
    values = {c.name: getattr(last, c.name) for c in AuditEventRow.__table__.columns}
    session.execute(insert(AuditEventRow).values(values | {"seq": 9}))


TAMPERED = {
    "another organisation": (change(organisation_id="org_x"), 5, "altered"),
    "another key": (change(key_id="key_x"), 5, "altered"),
    "another action": (change(action="key-made"), 5, "altered"),
    "another pool": (change(pool_id="pool_x"), 5, "altered"),
    "another object": (change(object_id="x"), 5, "altered"),
    "another request": (change(request_id="x"), 5, "altered"),
    "another detail": (change(detail="x"), 5, "altered"),
    "another digest": (change(sha256="1" * 64), 5, "altered"),
    "another digest before": (change(previous_sha256="1" * 64), 5, "follow"),
    "altered and digested again": (alter_and_sign_again, 6, "follow"),
    "removed": (remove(5), 5, "missing"),
    "the first removed": (remove(1), 1, "missing"),
    "the last removed": (remove(8), 8, "head"),
    "all removed": (remove(*range(1, 9)), 1, "head"),
    "two swapped": (swap, 5, "follow"),
    "one put in at the end": (insert_between, 9, "follow"),
    "the head removed": (lambda session: session.execute(delete(AuditHeadRow)), 9, "head"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_the_first_broken_event_is_named(
    database: Database, organisation_id: str, how: str
) -> None:
    with database.write() as session:
        session.execute(delete(AuditEventRow))
        session.execute(delete(AuditHeadRow))
    write_some(database, organisation_id, 8)
    assert verify(database).broken is None
    tamper, seq, why = TAMPERED[how]
    with database.write() as session:
        tamper(session)
    broken = verify(database).broken
    assert broken is not None
    assert (broken.seq, why in broken.why) == (seq, True), broken


def test_a_whole_new_chain_is_found_by_a_head_that_was_noted(
    database: Database, organisation_id: str
) -> None:
    write_some(database, organisation_id, 3)
    noted = verify(database)
    write_some(database, organisation_id, 2)
    kept = (noted.seq, noted.sha256)
    assert verify(database, noted=kept).broken is None
    with database.write() as session:
        session.execute(delete(AuditEventRow))
        session.execute(delete(AuditHeadRow))
    write_some(database, organisation_id, noted.seq + 2)
    assert verify(database).broken is None
    broken = verify(database, noted=kept).broken
    assert broken is not None
    assert broken.seq == noted.seq


def test_the_program_says_where_the_chain_is_broken_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELPOOL_VAR", str(tmp_path))
    migrate(f"sqlite:///{tmp_path}/modelpool.db")
    database = Database(f"sqlite:///{tmp_path}/modelpool.db")
    write_some(database, "org_1", 3)
    assert program.main(["verify"]) == 0
    head = capsys.readouterr().out.split()[-1]
    assert program.main(["verify", "--noted", head]) == 0
    with database.write() as session:
        session.execute(text("UPDATE audit_events SET detail = 'x' WHERE seq = 2"))
    database.dispose()
    assert program.main(["verify"]) == 1
    assert "event 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        program.main(["verify", "--noted", "3"])
