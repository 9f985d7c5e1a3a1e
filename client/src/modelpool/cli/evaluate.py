"""Accuracy of a meta-learner on one's own labelled images."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from modelpool.cli.connection import LearnerId, connect, learner_id
from modelpool.cli.exits import exit_of
from modelpool.cli.folders import by_label, labelled_images
from modelpool.cli.output import Json, Mode, count, err, note, print_json, say, show_error
from modelpool.cli.predict import MOST_QUERIES, MOST_SHOTS, MOST_WAYS
from modelpool.client import Client
from modelpool.episodes import FEWEST, Accuracy, Episode, Plan, accuracy_of, draw, plan_for
from modelpool.errors import ModelpoolError, Refused


def evaluate(
    learner: LearnerId,
    data: Annotated[Path, typer.Option("--data", "-d", help="folder/<class>/*.jpg, all labelled.")],
    way: Annotated[
        int | None, typer.Option(min=2, max=MOST_WAYS, help="Classes an episode; all, 5 at most.")
    ] = None,
    shots: Annotated[
        int, typer.Option(min=1, max=MOST_SHOTS, help="Images of a class to learn from.")
    ] = 5,
    queries: Annotated[
        int, typer.Option(min=1, help="Images of a class to ask about, or as many as there are.")
    ] = 15,
    episodes: Annotated[int, typer.Option(min=FEWEST, help="Draws; each is one request.")] = 30,
    seed: Annotated[int, typer.Option(help="Same seed, same draws.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw episodes from your labelled images, and measure how often the answer is right."""
    classes = by_label(labelled_images(data))
    plan = plan_for(classes, way=way, shots=shots, queries=queries)
    plan = Plan(way=plan.way, shots=plan.shots, queries=min(plan.queries, MOST_QUERIES // plan.way))
    if plan.queries < queries:
        note(f"Asking about {plan.queries} images of each class: the smallest has no more.")
    rng = random.Random(seed)  # noqa: S311  # no secret
    drawn = [draw(classes, plan, rng) for _ in range(episodes)]
    with connect(patient=True) as client:
        found_id = learner_id(client, learner)
        shares, stopped_by, answered = _measure(client, found_id, drawn)
    _print(answered, accuracy_of(shares), plan, seed=seed, as_json=as_json)
    if stopped_by is not None:
        show_error(stopped_by, exit_of(stopped_by))
        raise typer.Exit(exit_of(stopped_by))


def _measure(
    client: Client, learner: str, drawn: Sequence[Episode]
) -> tuple[list[float], ModelpoolError | None, str]:
    """Each episode's share of right answers; what ended it early, if anything did; who answered.

    All episodes ask who answered the first: an alias may point elsewhere by the next.

    Raises:
        Refused: before there were enough of them.
    """
    shares: list[float] = []
    try:
        for episode in _shown(drawn):
            share, learner = _share(client, learner, episode)
            shares.append(share)
    except Refused as refusal:
        if len(shares) < FEWEST:
            raise
        return shares, refusal, learner
    return shares, None, learner


def _share(client: Client, learner: str, episode: Episode) -> tuple[float, str]:
    answer = client.predict(
        learner,
        support=[(label, path.read_bytes()) for label, path in episode.support],
        query=[path.read_bytes() for _, path in episode.query],
    )
    right = sum(
        found["label"] == label
        for found, (label, _) in zip(answer["predictions"], episode.query, strict=True)
    )
    return right / len(episode.query), answer["meta_learner_id"]


def _shown(drawn: Sequence[Episode]) -> Iterator[Episode]:
    console = err()
    if Mode.json or not console.is_terminal:
        yield from drawn
        return
    columns: list[Any] = [
        TextColumn("Episodes"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    ]
    with Progress(*columns, console=console, transient=True) as bar:
        yield from bar.track(drawn)


def _print(learner: str, accuracy: Accuracy, plan: Plan, *, seed: int, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "meta_learner_id": learner,
                "accuracy": accuracy.mean,
                "interval": accuracy.interval,
                "episodes": accuracy.n,
                "way": plan.way,
                "shots": plan.shots,
                "queries": plan.queries,
                "seed": seed,
            }
        )
        return
    half = "" if accuracy.half_width is None else f" ± {100 * accuracy.half_width:.1f}"
    say(
        f"Accuracy {100 * accuracy.mean:.1f}{half} %   ({plan.way}-way {plan.shots}-shot, "
        f"{count(accuracy.n, 'episode')}, seed {seed})"
    )
    spread = "95 % interval over episodes drawn from these images"
    if accuracy.half_width is None:
        spread = "Every episode came out alike, so no interval can be given: try more images"
    note(f"{spread}; guessing would reach {100 / plan.way:.0f} %.")
