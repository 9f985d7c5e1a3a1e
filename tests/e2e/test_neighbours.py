"""Two deployments on one broker, which take each other's messages, are found by the doctor."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from apart import PROCFILE
from deployment import ROOT
from stands import Stand

from pool.doctor.findings import Finding
from pool.doctor.neighbours import check_neighbours
from pool.settings import Settings


def neighbours(environment: dict[str, str]) -> list[Finding]:
    """What the doctor finds about them."""
    said = {
        name.removeprefix("MODELPOOL_").lower(): value
        for name, value in environment.items()
        if name.startswith("MODELPOOL_")
    }
    return list(check_neighbours(Settings(**said)))  # type: ignore[arg-type]


@pytest.mark.xdist_group("faults-redis")
@pytest.mark.parametrize("stand", ["redis"], indirect=True)
def test_workers_of_another_deployment_on_the_same_broker_are_found(
    stand: Stand, tmp_path: Path
) -> None:
    environment = stand.server.environment | {"MODELPOOL_HEARTBEAT_S": "10"}
    (alone,) = neighbours(environment)
    assert (alone.state, alone.detail[:9]) == ("ok", "2 workers")
    other = environment | {"MODELPOOL_DATABASE_URL": f"sqlite:///{tmp_path}/other.db"}
    subprocess.run([sys.executable, "-m", "pool.setup"], cwd=ROOT, env=other, check=True)
    found = neighbours(other)
    assert {each.state for each in found} == {"failed"}
    assert sorted(each.detail.partition("@")[0] for each in found) == [
        "worker gpu",
        "worker inspect",
    ]
    assert "another number" in found[0].advice

    with subprocess.Popen(shlex.split(PROCFILE["worker-inspect"]), cwd=ROOT, env=other) as twin:
        try:
            stand.server.wait_until(
                lambda: neighbours(environment)[0].state == "failed", "the other's worker"
            )
            (shared,) = neighbours(environment)
            assert shared.detail.startswith("2 workers answer by the name inspect@")
        finally:
            twin.terminate()
