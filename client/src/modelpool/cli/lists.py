"""`pools`, `models`, `builds` and `learners`: list them, show one, act on one."""

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any

import typer

from modelpool.cli.build import describe_end, watch_build
from modelpool.cli.connection import LearnerId, connect, learner_id
from modelpool.cli.output import (
    Json,
    count,
    duration,
    hint,
    moment,
    note,
    print_fields,
    print_json,
    print_table,
    say,
    size,
)
from modelpool.cli.report import print_report
from modelpool.cli.verdict import print_model, reliability
from modelpool.errors import ModelpoolError
from modelpool.records import Learner

PoolName = Annotated[str, typer.Argument(metavar="POOL")]
ModelId = Annotated[str, typer.Argument(metavar="MODEL")]
BuildId = Annotated[str, typer.Argument(metavar="BUILD")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")]
USUAL = 20

pools = typer.Typer(help="Named sets of models.", no_args_is_help=True)
models = typer.Typer(help="Uploaded checkpoints.", no_args_is_help=True)
builds = typer.Typer(help="Orders for a meta-learner.", no_args_is_help=True)
learners = typer.Typer(help="Meta-learners: what builds deliver.", no_args_is_help=True)
GROUPS = {"pools": pools, "models": models, "builds": builds, "learners": learners}


def first(records: Iterable[Any], limit: int) -> tuple[list[Any], bool]:
    """As many as are wanted, and whether there are more."""
    found = list(islice(records, limit + 1))
    return found[:limit], len(found) > limit


def _more(more: bool) -> None:
    if more:
        note("There are more: --limit shows them.")


@pools.command("list")
def list_pools(as_json: Json = False) -> None:
    """The pools that your organisation belongs to."""
    with connect() as client:
        found = client.pools()
    if as_json:
        print_json(found)
        return
    rows = [
        (each["name"], ", ".join(each["roles"]), _states(each["models"]), each["id"])
        for each in found
    ]
    print_table(("pool", "you are", "models", "id"), rows)


@pools.command("show")
def show_pool(name: PoolName, as_json: Json = False) -> None:
    """One pool, by its name or id."""
    with connect() as client:
        found = [each for each in client.pools() if name in (each["name"], each["id"])]
    if not found:
        raise ModelpoolError("You belong to no pool of that name. See: modelpool pools list")
    if as_json:
        print_json(found[0])
        return
    for each in found:
        print_fields(
            [
                ("pool", each["name"]),
                ("id", each["id"]),
                ("description", each["description"]),
                ("you are", ", ".join(each["roles"])),
                ("models", _states(each["models"])),
                ("made", moment(each["created_at"])),
            ]
        )


@pools.command("create")
def create_pool(
    name: PoolName,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    as_json: Json = False,
) -> None:
    """Make an empty pool, which your organisation owns."""
    with connect() as client:
        made = client.create_pool(name, description=description)
    if as_json:
        print_json(made)
        return
    say(f"Made the pool {made['name']} ({made['id']}).")
    hint(f"modelpool push model.safetensors --pool {made['name']!r}")


def _states(models: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {state}" for state, number in models.items() if number)


@models.command("list")
def list_models(
    pool: Annotated[str | None, typer.Option(help="Only of this pool.")] = None,
    status: Annotated[str | None, typer.Option(help="Only in this state, such as ready.")] = None,
    name: Annotated[str | None, typer.Option(help="Only those whose name begins so.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Only of this architecture.")] = None,
    limit: Limit = USUAL,
    as_json: Json = False,
) -> None:
    """Models, newest first."""
    with connect() as client:
        asked = client.models(pool=pool, status=status, name=name, backbone=backbone)
        found, more = first(asked, limit)
    if as_json:
        print_json(found)
        return
    if not found:
        say("No models.")
        hint("modelpool push model.safetensors")
        return
    rows = [
        (
            *(each["id"], each["name"], each["status"], each["backbone"], each["pool"]),
            reliability(each) or "",
        )
        for each in found
    ]
    print_table(("model", "name", "status", "backbone", "pool", "reliability"), rows)
    _more(more)


@models.command("show")
def show_model(model: ModelId, as_json: Json = False) -> None:
    """One model: its state and, if it was rejected, why and what to do."""
    with connect() as client:
        found = client.model(model)
    if as_json:
        print_json(found)
        return
    print_model(found)


@models.command("withdraw")
def withdraw_model(
    model: ModelId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take a model back: its bytes are deleted, what learnt from it is marked as tainted."""
    with connect() as client:
        if not yes:
            typer.confirm(f"Withdraw {model} for good?", abort=True, err=True)
        found = client.withdraw_model(model)
    if as_json:
        print_json(found)
        return
    say(f"{found['id']} is withdrawn.")


@builds.command("list")
def list_builds(limit: Limit = USUAL, as_json: Json = False) -> None:
    """Builds, newest first."""
    with connect() as client:
        found, more = first(client.builds(), limit)
    if as_json:
        print_json(found)
        return
    if not found:
        say("No builds.")
        hint("modelpool build --watch")
        return
    rows = [
        (
            each["id"],
            each["status"],
            f"{each['progress']:.0%}",
            each["recipe"]["algorithm"],
            moment(each["created_at"]),
        )
        for each in found
    ]
    print_table(("build", "status", "done", "recipe", "ordered"), rows)
    _more(more)


@builds.command("show")
def show_build(build: BuildId, as_json: Json = False) -> None:
    """One build: how far it is, or what it delivered."""
    with connect() as client:
        found = client.build(build)
    if as_json:
        print_json(found)
        return
    config = ", ".join(f"{name} {value}" for name, value in found["recipe"]["config"].items())
    print_fields(
        [
            ("build", found["id"]),
            ("status", found["status"]),
            ("done", f"{found['progress']:.0%}"),
            ("stage", found["stage"] if found["finished_at"] is None else None),
            ("left", duration(found["eta_s"])),
            ("pool", found["pool"]),
            ("recipe", found["recipe"]["algorithm"]),
            ("config", config),
            ("seed", found["seed"]),
            ("models", found["n_models"]),
            ("meta-learner", found["meta_learner_id"]),
            ("why", found["error"]),
            ("ordered", moment(found["created_at"])),
            ("ended", moment(found["finished_at"])),
        ]
    )


@builds.command("watch")
def watch(build: BuildId, as_json: Json = False) -> None:
    """Follow a build until it ends; Ctrl-C leaves it running."""
    with connect(patient=True) as client:
        ended = watch_build(client, client.build(build))
        describe_end(client, ended, as_json=as_json)


@builds.command("cancel")
def cancel_build(build: BuildId, as_json: Json = False) -> None:
    """Stop a build: a queued one at once, a running one in seconds."""
    with connect() as client:
        found = client.cancel_build(build)
    if as_json:
        print_json(found)
        return
    ended = found["status"] == "canceled"
    say(f"{found['id']} is canceled." if ended else f"{found['id']} is asked to stop.")


@learners.command("list")
def list_learners(limit: Limit = USUAL, as_json: Json = False) -> None:
    """Meta-learners, newest first."""
    with connect() as client:
        found, more = first(client.learners(), limit)
    if as_json:
        print_json(found)
        return
    if not found:
        say("No meta-learners.")
        hint("modelpool build --watch")
        return
    rows = [
        (each["id"], each["status"], each["backbone"], _pixels(each), moment(each["created_at"]))
        for each in found
    ]
    print_table(("meta-learner", "status", "backbone", "images", "made"), rows)
    _more(more)


@learners.command("show")
def show_learner(learner: LearnerId, as_json: Json = False) -> None:
    """One meta-learner, or `latest`: what it is and what it is worth."""
    with connect() as client:
        found = client.learner(learner_id(client, learner))
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("meta-learner", found["id"]),
            ("status", found["status"]),
            ("pool", found["pool"]),
            ("aliases", ", ".join(found.get("aliases", ()))),
            ("build", found["build_id"]),
            ("learnt from", count(len(found["model_ids"]), "model") + " that you may see"),
            ("backbone", found["backbone"]),
            ("images", _pixels(found)),
            ("size", size(found["size_bytes"])),
            ("made", moment(found["created_at"])),
        ]
    )
    print_report(found["report"])
    hint(f"modelpool predict {found['id']} --support folder/ --query images/")


def _pixels(learner: Learner) -> str:
    colours = "grey" if learner["channels"] == 1 else "colour"
    return f"{learner['image_size']} px, {colours}"
