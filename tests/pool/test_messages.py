"""A message leaves after the commit, carries a job's id and nothing else, and may get lost."""

import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from pool.database import jobs
from pool.database.session import Database, send_after_commit
from pool.database.tables import JobRow, OrganisationRow
from pool.domain import JobKind, utc_now
from pool.queue import RUN_JOB, JobQueue, make_celery
from pool.settings import Settings
from pool.usecases.sweep import sweep

Sent = list[tuple[str, str]]


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def messages_in(settings: Settings) -> list[dict[str, Any]]:
    files = sorted((settings.var_dir / "messages").glob("*.msg"))
    return [json.loads(file.read_text()) for file in files]


def take_away(messages: Path) -> None:
    messages.rename(messages.with_name("elsewhere"))
    messages.write_text("a file where the directory was: not even root can write into it")


def queue_of(settings: Settings) -> JobQueue:
    return JobQueue(make_celery(settings))


def test_a_message_leaves_after_the_commit_when_every_reader_sees_the_job(
    database: Database,
) -> None:
    seen: list[JobRow | None] = []

    def look(job_id: str, _kind: str) -> None:
        with database.read() as session:
            seen.append(session.get(JobRow, job_id))

    url = database.engine.url.render_as_string(hide_password=False)
    sender = Database(url, send=look)
    with sender.write() as session:
        job = jobs.create(session, JobKind.BUILD, "bld_1")
        assert seen == []
    sender.dispose()
    assert [row.id for row in seen if row is not None] == [job.id]


def test_no_message_leaves_after_a_rollback(database: Database, sent: Sent) -> None:
    def order_and_break() -> None:
        with database.write() as session:
            jobs.create(session, JobKind.BUILD, "bld_1")
            raise RuntimeError("after the job was made")

    with pytest.raises(RuntimeError):
        order_and_break()
    assert sent == []


def test_no_message_leaves_when_the_commit_fails(
    database: Database, sent: Sent, organisation_id: str
) -> None:
    def order_and_break() -> None:
        with database.write() as session:
            jobs.create(session, JobKind.BUILD, "bld_1")
            session.add(OrganisationRow(id=organisation_id, name="the same id again"))

    with pytest.raises(IntegrityError):
        order_and_break()
    assert sent == []


def test_a_transaction_sends_each_of_its_messages_once(database: Database, sent: Sent) -> None:
    with database.write() as session:
        first = jobs.create(session, JobKind.INSPECT, "mdl_1")
        second = jobs.create(session, JobKind.BUILD, "bld_1")
    with database.write() as session:
        session.get_one(JobRow, first.id)
    assert sent == [(first.id, "inspect"), (second.id, "build")]


@pytest.mark.parametrize(("kind", "queue"), [(JobKind.INSPECT, "inspect"), (JobKind.BUILD, "gpu")])
def test_a_message_holds_the_jobs_id_and_nothing_else(
    settings: Settings, kind: JobKind, queue: str
) -> None:
    queue_of(settings).send("job_5f0c", kind)
    (message,) = messages_in(settings)
    args, kwargs, embedded = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == (["job_5f0c"], {})
    assert not any(embedded.values())
    headers = message["headers"]
    assert (headers["task"], headers["argsrepr"]) == (RUN_JOB, "['job_5f0c']")
    assert headers["kwargsrepr"] == "{}"
    assert message["properties"]["delivery_info"]["routing_key"] == queue


def test_the_embedded_brokers_directory_is_closed_to_other_users(settings: Settings) -> None:
    make_celery(settings)
    assert (settings.var_dir / "messages").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("scheme", ["filesystem", "redis", "amqp"])
def test_a_broker_that_is_away_loses_the_message_but_not_the_request(
    tmp_path: Path, scheme: str
) -> None:
    url = "" if scheme == "filesystem" else f"{scheme}://127.0.0.1:{closed_port()}//"
    settings = Settings(var=tmp_path / "var", broker_url=url)
    queue = queue_of(settings)
    if scheme == "filesystem":
        take_away(settings.var_dir / "messages")
    queue.send("job_1", JobKind.BUILD)


def test_a_lost_message_is_sent_again_by_the_sweep(settings: Settings, database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    with_no_broker = Database(url, send=queue_of(settings).send)
    messages = settings.var_dir / "messages"
    take_away(messages)
    with with_no_broker.write() as session:
        job = jobs.create(session, JobKind.BUILD, "bld_1")
    messages.unlink()
    messages.with_name("elsewhere").rename(messages)
    assert messages_in(settings) == []

    with database.write() as session:
        long_ago = utc_now().replace(year=2000)
        session.execute(update(JobRow).values(created_at=long_ago, sent_at=long_ago))
    with_broker = Database(url, send=queue_of(settings).send)
    with with_broker.write() as session:
        assert sweep(session, resend_after_s=60, max_attempts=5).resent == 1
    (message,) = messages_in(settings)
    assert json.loads(base64.b64decode(message["body"]))[0] == [job.id]
    with_no_broker.dispose()
    with_broker.dispose()


@pytest.mark.xdist_group("rabbitmq")  # its queues are there once
@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/9", "amqp://guest:guest@127.0.0.1:5672//"])
def test_a_message_reaches_a_real_broker(tmp_path: Path, url: str) -> None:
    settings = Settings(var=tmp_path / "var", broker_url=url)
    celery = make_celery(settings)
    try:
        with celery.connection() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            purge(connection)
    except OSError:
        pytest.skip("no broker here")
    JobQueue(celery).send("job_1", JobKind.BUILD)
    with celery.connection() as connection:
        message = connection.SimpleQueue("gpu").get(timeout=10)
        assert message.payload[0] == ["job_1"]
        message.ack()
        purge(connection)


def purge(connection: Any) -> None:
    """Leave nothing of earlier runs on a broker that outlives the tests."""
    connection.SimpleQueue("gpu").clear()


def test_only_a_committing_session_sends(database: Database, sent: Sent) -> None:
    with database.read() as session:
        send_after_commit(session, "job_1", "build")
    assert sent == []
