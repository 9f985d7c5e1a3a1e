"""Waiting for the server's work: inspections, then the build, as a client can see them."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from demo.api import Api, Record
from demo.errors import DemoError
from demo.server import LOG_FILE, log_tail
from demo.story import Bar, Story

POLL_S = 1.0
STALLED_AFTER_S = 180.0
SEED = 0
DECIDED = ("ready", "rejected", "withdrawn")
OVER = ("succeeded", "failed", "canceled")
REASONS_SHOWN = 5
SHOWN = ("gradient_alignment", "recovered_tasks_per_s", "bn_gap_refined")
"""Of a build's metrics, besides its losses."""


def wait_for_inspection(api: Api, ids: Sequence[str], story: Story) -> list[Record]:
    """Wait until every model is ready or rejected, and tell the counts and reasons.

    Returns:
        The ready models' records.

    Raises:
        DemoError: if nothing changes for STALLED_AFTER_S, or no two models are ready.
    """
    changed, decided = time.monotonic(), -1
    with story.bar("inspecting") as bar:
        while True:
            records = [record for record in api.models() if record["id"] in set(ids)]
            done = sum(record["status"] in DECIDED for record in records)
            bar.update(done / len(ids), f"{done} of {len(ids)}")
            if done == len(ids):
                break
            if done > decided:
                changed, decided = time.monotonic(), done
            if time.monotonic() - changed > STALLED_AFTER_S:
                raise DemoError(
                    f"No inspection ended for {STALLED_AFTER_S:.0f} s: the worker may be down. "
                    f"The end of {LOG_FILE}:\n{log_tail()}"
                )
            time.sleep(POLL_S)
    ready = [record for record in records if record["status"] == "ready"]
    _tell_counts(records, story)
    if len(ready) < 2:
        raise DemoError("A build needs at least two ready models.")
    return ready


def _tell_counts(records: Sequence[Record], story: Story) -> None:
    counts = Counter(record["status"] for record in records)
    story.say(", ".join(f"{n} {status}" for status, n in counts.most_common()))
    rejected = [record for record in records if record["status"] == "rejected"]
    reasons = Counter((record["reason"], record["recipe"]) for record in rejected)
    for (reason, recipe), n in reasons.most_common(REASONS_SHOWN):
        story.say(f"{n} rejected: {reason}", indent=8)
        if recipe:
            story.say(f"To fix it: {recipe}".replace("\n", "\n          "), indent=8)


def run_build(api: Api, ids: Sequence[str], story: Story, *, algorithm: str, preset: str) -> Record:
    """Order a build, follow it to its end, and fetch what it delivered.

    Returns:
        The meta-learner's record.

    Raises:
        DemoError: if the build fails or is canceled; with the server's reason.
    """
    build = api.start_build(ids, algorithm=algorithm, preset=preset, seed=SEED)
    story.say(f"build {build['id']} over {build['n_models']} models, {algorithm}, preset {preset}")
    with story.bar("building") as bar:
        try:
            build = _follow(api, build, bar)
        except KeyboardInterrupt:
            api.cancel_build(build["id"])
            raise
    if build["status"] != "succeeded":
        raise DemoError(
            f"The build {build['status']}: {build['error'] or 'no reason given'}\n"
            f"The end of {LOG_FILE}:\n{log_tail()}"
        )
    return api.meta_learner(build["meta_learner_id"])


def _follow(api: Api, build: Record, bar: Bar) -> Record:
    """Show the build's events until it is over; a broken stream is opened again."""
    seen = "0"
    while build["status"] not in OVER:
        bar.update(build["progress"], build["stage"] or build["status"])
        for event in api.events(build["id"], after=seen):
            seen = event.id
            if event.kind == "progress":
                bar.update(float(event.payload["fraction"]), describe_progress(event.payload))
        build = api.build(build["id"])
        if build["status"] not in OVER:
            time.sleep(POLL_S)
    if build["status"] == "succeeded":
        bar.update(1.0, "")
    return build


def describe_progress(payload: Mapping[str, Any]) -> str:
    """A progress event in a line: stage, step, time left, losses, and what else is SHOWN."""
    parts = [f"{payload['stage']} {payload['step']}/{payload['total_steps']}"]
    if payload.get("eta_s") is not None:
        parts.append(f"ETA {float(payload['eta_s']):.0f} s")
    metrics = payload.get("metrics") or {}
    losses = [name for name in metrics if "loss" in name]
    shown = losses + [name for name in SHOWN if name in metrics]
    parts += [f"{name} {float(metrics[name]):.3g}" for name in shown]
    return ", ".join(parts)
