"""What the tests themselves rely on."""

import pytest


@pytest.mark.xdist_group("a group")
def test_tests_of_a_group_run_in_one_process(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("asked to run without groups, or in one process")
    # pytest-xdist tells its scheduler by the node's id. With pytest 9.2 it did not, silently: two
    # deployments ran on one Redis database and took each other's messages (its issue 1386).
    assert request.node.nodeid.endswith("@a group")
