"""Lost leases, cancels and uploads while processes die: no stale run writes, no end is doubtful."""

import secrets
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
from factories import small_manifest
from journeys import ask
from sqlalchemy import inspect, select
from stands import Stand

from pool.database.tables import JobRow
from pool.domain import JobStatus
from pool.storage.parts import MIN_PART_BYTES
from tests.s3_server import SECRET_KEY

PROMISE_S = 5


def written(stand: Stand, build_id: str) -> list[Any]:
    """All that SQL says of a build's job, and what the store holds."""
    job = stand.job(build_id)
    columns = [getattr(job, column.key) for column in inspect(JobRow).columns]
    events = [(event.seq, event.kind, event.payload) for event in stand.events(build_id)]
    return [columns, events, stand.keys()]


@pytest.mark.matrix
@pytest.mark.xdist_group("faults-files")
@pytest.mark.parametrize("stand", ["files"], indirect=True)
def test_a_run_that_sleeps_past_its_lease_writes_nothing_when_it_wakes(stand: Stand) -> None:
    build_id = stand.order()
    stand.wait_for_state(build_id)
    asleep = stand.server.suspend("worker-gpu")
    (stale,) = [each for each in asleep if "worker.run_job" in each.cmdline()]
    stand.server.start_part("gpu-2", like="worker-gpu")
    assert stand.wait_until_over(build_id) == JobStatus.SUCCEEDED
    assert stand.told(build_id, "from the last saved state")
    stand.assert_all_is_well()
    before = written(stand, build_id)

    for process in asleep:
        process.resume()
    psutil.wait_procs([stale], timeout=60)
    assert not stale.is_running()
    stand.wait_for_a_sweep()
    stand.wait_for_a_sweep()
    stand.assert_all_is_well()
    assert written(stand, build_id) == before
    stand.server.stop_part("gpu-2")


def cancel(stand: Stand, build_id: str) -> None:
    """The answer is the end, and no process works on it once the promised time is over."""
    started = time.monotonic()
    answer = stand.server.http.post(f"/v1/builds/{build_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "canceled"), answer.text
    assert time.monotonic() - started < PROMISE_S
    stand.server.wait_until(lambda: not stand.server.job_processes(), "the process's end")
    assert time.monotonic() - started < PROMISE_S + 1  # and what it takes to see a process end
    again = stand.server.http.post(f"/v1/builds/{build_id}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "build-finished")


def running(stand: Stand, build_id: str) -> None:
    stand.wait_for_state(build_id)


def waiting_for_the_store(stand: Stand, build_id: str) -> None:
    assert stand.s3 is not None
    stand.wait_for_state(build_id)
    stand.s3.cut()
    stand.server.wait_until(lambda: stand.told(build_id, "did not answer"), "the wait")
    stand.server.wait_until(
        lambda: (
            stand.job(build_id).status == JobStatus.QUEUED
            and not stand.server.job_processes()
            and stand.job(build_id).attempt > 1
        ),
        "the second wait, of seconds",
    )


def delivering(stand: Stand, build_id: str) -> None:
    """The meta-learner is on its way to the store, and the process cannot be asked to stop."""
    assert stand.s3 is not None
    held = stand.s3.hold(b"PUT /modelpool/meta-learners/")
    stand.server.wait_until(held.is_set, "the delivery")


def dead_with_its_worker(stand: Stand, build_id: str) -> None:
    stand.wait_for_state(build_id)
    doomed = stand.server.tree("worker-gpu")
    for process in reversed(doomed):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    stand.server.kill_part("worker-gpu")
    assert stand.job(build_id).status == JobStatus.RUNNING


@pytest.mark.xdist_group("faults-redis")
@pytest.mark.parametrize("stand", ["redis"], indirect=True)
@pytest.mark.parametrize(
    "state",
    [
        running,
        pytest.param(waiting_for_the_store, marks=pytest.mark.matrix),
        delivering,
        dead_with_its_worker,
    ],
)
def test_a_cancel_is_the_end_in_every_state_and_within_five_seconds(
    stand: Stand, state: Callable[[Stand, str], None]
) -> None:
    build_id = stand.order(steps=100 if state is delivering else 100_000)
    try:
        state(stand, build_id)
        cancel(stand, build_id)
    finally:
        assert stand.s3 is not None
        stand.s3.release()
        stand.s3.mend()
        if state is dead_with_its_worker:
            stand.server.start_part("worker-gpu")
    assert stand.job(build_id).status == JobStatus.CANCELED
    stand.assert_all_is_well()


@pytest.mark.xdist_group("faults-redis")
@pytest.mark.parametrize("stand", ["redis"], indirect=True)
def test_an_upload_in_parts_whose_assembling_process_is_killed_becomes_one_model(
    stand: Stand,
) -> None:
    assert stand.s3 is not None
    data = secrets.token_bytes(MIN_PART_BYTES + 1234)
    order = {"manifest": small_manifest("in parts"), "size_bytes": len(data)}
    order["part_size"] = MIN_PART_BYTES
    upload = stand.server.http.post("/v1/uploads", json=order).json()["id"]
    for part in stand.server.get(f"/v1/uploads/{upload}")["next_parts"]:
        body = data[part["offset"] : part["offset"] + part["size_bytes"]]
        assert httpx.put(part["url"], content=body).status_code == 200

    reading = stand.s3.hold(rb"GET /modelpool/quarantine/[^? ]+ HTTP")
    assert stand.server.http.post(f"/v1/uploads/{upload}/complete").status_code == 202
    stand.server.wait_until(reading.is_set, "the joined bytes to be read")
    for process in stand.server.job_processes():
        process.kill()
    stand.s3.release()

    def look() -> Any:
        return stand.server.get(f"/v1/uploads/{upload}")

    stand.server.wait_until(lambda: look()["status"] == "completed", "the upload's end")
    stand.server.wait_until(
        lambda: stand.server.get(f"/v1/models/{look()['model_id']}")["status"] == "rejected",
        "the inspection of bytes drawn by chance",
    )
    with stand.database.read() as session:
        assembly = session.scalars(select(JobRow).where(JobRow.subject_id == upload)).one()
    assert (assembly.status, assembly.attempt) == (JobStatus.SUCCEEDED, 2)
    stand.assert_all_is_well()


@pytest.mark.xdist_group("faults-redis")
@pytest.mark.parametrize("stand", ["redis"], indirect=True)
def test_the_main_job_runs_on_production_parts(stand: Stand) -> None:
    record = stand.server.wait_for_build(stand.order(steps=20))
    assert record["status"] == "succeeded", record
    answer = ask(stand.server, record["meta_learner_id"])
    assert [p["label"] for p in answer.json()["predictions"]] == ["dark", "bright"]
    assert SECRET_KEY not in stand.server.log()
    assert not (stand.server.var / "objects").exists()
