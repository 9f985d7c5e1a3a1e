"""The files of killed runs are found by the run's name; those of living runs stay."""

from factories import claim_next, order_build

from pool.domain import JobKind
from worker.context import JobContext
from worker.work_files import clear_work_files


def test_files_of_runs_that_hold_no_job_go_and_those_of_others_stay(
    context: JobContext, ready_models: object
) -> None:
    ready_models(2)  # type: ignore[operator]
    order_build(context.database)
    run = claim_next(context.database, JobKind.BUILD)
    dead = context.settings.work_dir / "run_dead-x"
    (dead / "within").mkdir(parents=True)
    (dead / "original").write_bytes(b"an upload")
    with context.workspace(run) as workspace:
        (workspace / "state").write_bytes(b"needed")
        clear_work_files(context.settings, context.database)
        assert list(context.settings.work_dir.iterdir()) == [workspace]
        assert (workspace / "state").read_bytes() == b"needed"
    assert list(context.settings.work_dir.iterdir()) == []


def test_a_run_that_lost_its_files_with_its_lease_ends_in_order(context: JobContext) -> None:
    from pool.domain import JobRun

    run = JobRun(job_id="job", kind=JobKind.BUILD, subject_id="s", attempt=1, holder="run_stale")
    with context.workspace(run) as workspace:
        clear_work_files(context.settings, context.database)
        assert not workspace.exists()
