"""`aliases`: names that point at meta-learners, so that who asks need not follow every build."""

from typing import Annotated

import typer

from modelpool.cli.connection import LearnerId, connect, learner_id
from modelpool.cli.output import (
    Json,
    count,
    hint,
    moment,
    note,
    print_fields,
    print_json,
    print_table,
    say,
)
from modelpool.learning import ANYWHERE

Name = Annotated[str, typer.Argument(metavar="ALIAS", help="Such as production.")]
PoolOption = Annotated[str, typer.Option(help="The pool's name or id.")]

aliases = typer.Typer(help="Names that point at meta-learners.", no_args_is_help=True)


@aliases.command("list")
def list_aliases(pool: PoolOption = "default", as_json: Json = False) -> None:
    """The pool's aliases and where they point."""
    with connect() as client:
        found = client.aliases(pool)
    if as_json:
        print_json(found)
        return
    if not found:
        say("No aliases.")
        hint("modelpool aliases set production latest")
        return
    rows = [
        (each["name"], each["meta_learner_id"], moment(each["moved_at"]), each["address"])
        for each in found
    ]
    print_table(("alias", "meta-learner", "since", "ask it as"), rows)


@aliases.command("show")
def show_alias(name: Name, pool: PoolOption = "default", as_json: Json = False) -> None:
    """Where an alias points, and where it pointed when."""
    with connect() as client:
        found = client.alias(pool, name)
    if as_json:
        print_json(found)
        return
    print_fields(
        [
            ("alias", found["name"]),
            ("pool", found["pool"]),
            ("meta-learner", found["meta_learner_id"] or "none: it is removed"),
            ("moved", count(found["n_moves"], "time")),
        ]
    )
    rows = [
        (
            str(move["seq"]),
            moment(move["at"]),
            move["meta_learner_id"] or "removed",
            move["note"] or "",
        )
        for move in found["moves"]
    ]
    print_table(("move", "when", "to", "why"), rows)


@aliases.command("set")
def set_alias(
    name: Name,
    learner: LearnerId,
    pool: PoolOption = "default",
    why: Annotated[
        str | None, typer.Option("--note", help="Why; the pool's members see it.")
    ] = None,
    expected: Annotated[
        str | None,
        typer.Option("--expect", help="Move it only if it points at this meta-learner now."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Point an alias at a meta-learner, for whoever asks by it from now on."""
    with connect() as client:
        target = client.learner(learner_id(client, learner))["id"]
        found = client.set_alias(pool, name, target, note=why, expected=expected or ANYWHERE)
    if as_json:
        print_json(found)
        return
    say(f"{found['name']} points at {found['meta_learner_id']}.")
    hint(f"modelpool predict {found['address']} --support folder/ --query images/")


@aliases.command("remove")
def remove_alias(name: Name, pool: PoolOption = "default", as_json: Json = False) -> None:
    """Let an alias point nowhere; who asks by it is refused, its history stays."""
    with connect() as client:
        client.remove_alias(pool, name)
    if as_json:
        print_json({"name": name, "pool": pool, "meta_learner_id": None})
        return
    note(f"{name} points nowhere now.")
