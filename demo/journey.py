"""The seven steps of the main job, from an empty server to an answer and its worth."""

import argparse
from collections.abc import Sequence

import torch

from demo import plan as plans
from demo import server
from demo.api import Api, Record
from demo.build import run_build, wait_for_inspection
from demo.curl import curl_command, save_images
from demo.episodes import Draw, Slides, draw_episodes
from demo.evaluate import ask_episodes
from demo.plan import N_QUERY, SHOTS, Plan
from demo.story import Story

N_STEPS = 7
EPISODE_SEED = 2
CURL_QUERIES = 3


def make_plan(options: argparse.Namespace) -> Plan:
    """Digits, unless a pool is given."""
    if options.pool is None:
        return plans.digits_plan(
            algorithm=options.algorithm, preset=options.preset, episodes=options.episodes
        )
    return plans.pool_plan(
        options.pool,
        options.data,
        algorithm=options.algorithm,
        preset=options.preset,
        episodes=options.episodes,
    )


def run(plan: Plan, *, port: int | None, leave_up: bool) -> int:
    """The seven steps."""
    # Small tensors, and a machine that the server shares: more threads would wait for each other.
    torch.set_num_threads(1)
    story = Story(n_steps=N_STEPS)
    for warning in plan.warnings:
        story.say(f"Note: {warning}", indent=0)
    with story.step("Start the server: API, two workers, scheduler; SQLite and files"):
        up = server.start(port)
        story.say(f"{up.url} (state and log in {server.VAR})")
    with Api(up.url, server.api_key()) as api:
        learner, ready = learn(plan, api, up, story)
        slides, draws = Slides(plan.images), draw_all(plan)
        ours = ask(plan, api, learner, slides, draws, story)
    with story.step("Compare with baselines on the same episodes, computed here"):
        # Imported late: torchvision takes seconds, which the steps before need not wait for.
        from demo.compare import compare

        compare(plan, learner, ours, slides, draws, story)
    with story.step("What the server has now"):
        tell_what_is_stored(ready, story)
    if leave_up:
        tell_how_to_go_on(up, learner, slides, draws[SHOTS[0]][0], story)
    else:
        server.stop(up)
        story.say("\nThe server is stopped.", indent=0)
    story.say(f"\nAll of this took {story.elapsed_s:.0f} s.", indent=0)
    return 0


def learn(plan: Plan, api: Api, up: server.Server, story: Story) -> tuple[Record, list[Record]]:
    """Models arrive, are inspected, and a meta-learner is built over them."""
    with story.step(plan.contribution):
        ids = plan.contribute(api, up, story)
    with story.step("The server inspects the checkpoints"):
        ready = wait_for_inspection(api, ids, story)
    with story.step("Build a meta-learner, without data"):
        learner = run_build(
            api,
            [model["id"] for model in ready],
            story,
            algorithm=plan.algorithm,
            preset=plan.preset,
        )
        # Imported late, as with the comparison below.
        from demo.report import report_lines

        story.say("\n".join(report_lines(learner["report"])))
    return learner, ready


def draw_all(plan: Plan) -> dict[int, list[Draw]]:
    """The same episodes on every run, per number of shots."""
    rng = torch.Generator().manual_seed(EPISODE_SEED)
    return {
        n_shot: draw_episodes(
            plan.images,
            n_way=plan.n_way,
            n_shot=n_shot,
            n_query=N_QUERY,
            episodes=plan.episodes,
            rng=rng,
        )
        for n_shot in SHOTS
    }


def ask(
    plan: Plan,
    api: Api,
    learner: Record,
    slides: Slides,
    draws: dict[int, list[Draw]],
    story: Story,
) -> dict[int, list[float]]:
    """Accuracy per episode and number of shots, as the server answers."""
    answers = {}
    with story.step(f"Ask about classes nobody trained on: {plan.n_way}-way over HTTP"):
        for n_shot in SHOTS:
            with story.bar(f"{n_shot}-shot requests") as bar:
                answers[n_shot] = ask_episodes(api, learner["id"], slides, draws[n_shot], bar)
    return answers


def tell_what_is_stored(ready: Sequence[Record], story: Story) -> None:
    """The promise, with this run's numbers."""
    size = sum(model["size_bytes"] for model in ready) / 1e6
    story.say(
        f"Stored: {len(ready)} models' weights ({size:.1f} MB as uploaded) with their manifests, "
        "one meta-learner, the jobs' records.\n"
        "Never sent to it: any training image. Never stored by it: support and query images and "
        "their labels (held in memory during a request), recovered images, uploaded files as they "
        "came (only tensors are kept)."
    )


def tell_how_to_go_on(
    up: server.Server, learner: Record, slides: Slides, draw: Draw, story: Story
) -> None:
    """Address, key, and a request to paste."""
    support, query = save_images(slides, draw, server.VAR / "images", n_query=CURL_QUERIES)
    step = len(draw.query_rows) // CURL_QUERIES
    shown = ", ".join(slides.names(draw.query_rows[::step][:CURL_QUERIES]))
    command = curl_command(
        up.url, learner["id"], key_file=server.KEY_FILE, support=support, query=query
    )
    story.say(
        f"\nThe server stays up at {up.url} (API description: {up.url}/docs).\n"
        f"Its key is in {server.KEY_FILE}. `make demo EXIT=1` stops it.\n"
        f"A one-shot request to paste, from this directory; its queries show {shown}:\n\n{command}",
        indent=0,
    )
