"""Every fault on every broker: each job ends once, builds resume, nothing is stuck or left over."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults import EVERYWHERE, FAULTS
from stands import Stand

from pool.domain import JobStatus

ITS_OWN = ("queue emptied", "broker restarted", "beat killed", "worker killed")
"""What depends on the broker most."""
IN_EVERY_RUN = {
    "files": [
        (*ITS_OWN, "API killed"),
        ("disk full", "job's process killed"),
    ],
    "redis": [],
    "rabbitmq": [ITS_OWN],
}
"""What `make test` runs: a build for each line, hit by its faults at once. On Redis it cancels,
uploads and builds (test_fault_endings). `make faults` runs each fault alone, on every broker."""


def cells() -> Iterator[object]:
    for broker, tried in IN_EVERY_RUN.items():
        group = pytest.mark.xdist_group(f"faults-{broker}")
        for faults in tried:
            yield pytest.param(broker, faults, marks=group, id=f"{broker}-{' + '.join(faults)}")
        for fault in FAULTS:
            if (fault,) not in tried:
                marks = (group, pytest.mark.matrix)
                yield pytest.param(broker, (fault,), marks=marks, id=f"{broker}-{fault}")


@pytest.mark.parametrize(("stand", "faults"), list(cells()), indirect=["stand"], scope="session")
def test_after_a_fault_every_job_ends_once_and_nothing_is_stuck_or_left_over(
    stand: Stand, faults: tuple[str, ...]
) -> None:
    build_id = stand.order()
    stand.wait_for_state(build_id)
    others: list[str] = []
    with ExitStack() as over:
        for fault in faults:
            over.enter_context(FAULTS[fault].happens(stand, build_id, others))
    stand.wait_for_a_sweep()
    for each in (build_id, *others):
        assert stand.wait_until_over(each) == JobStatus.SUCCEEDED, stand.job(each).error
    resumes = any(stand.broker_name in FAULTS[fault].resumes_on for fault in faults)
    assert stand.told(build_id, "from the last saved state") == resumes
    stand.assert_all_is_well()


def test_the_page_shows_this_matrix() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "ARCHITECTURE.md").read_text()
    shown = {}
    for line in (
        page.partition("<!-- fault matrix -->")[2].strip().split("\n\n")[0].splitlines()[2:]
    ):
        fault, *brokers = [cell.strip() for cell in line.strip("|").split("|")][:4]
        shown[fault] = dict(zip(EVERYWHERE, brokers, strict=True))
    tried = {
        broker: {fault for faults in IN_EVERY_RUN[broker] for fault in faults}
        for broker in EVERYWHERE
    }
    assert shown == {
        fault: {broker: "test" if fault in tried[broker] else "faults" for broker in EVERYWHERE}
        for fault in FAULTS
    }
