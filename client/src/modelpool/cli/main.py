"""`modelpool`: log in, push checkpoints, build a meta-learner, ask it."""

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from modelpool.cli import (
    account,
    aliases,
    build,
    completion,
    evaluate,
    export,
    lists,
    predict,
    push,
    push_dir,
)
from modelpool.cli.exits import Exit, exit_of
from modelpool.cli.output import Mode, note, say, show_error
from modelpool.credentials import PROFILE_VARIABLE
from modelpool.errors import ModelpoolError
from modelpool.version import VERSION

EPILOG = (
    "First steps: modelpool login, modelpool push model.safetensors, modelpool build --watch, "
    "modelpool predict latest --support folder/ --query images/"
)


class Guarded(TyperGroup):
    """Every command ends with words and an exit code, none with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        Mode.json = False
        try:
            return super().invoke(ctx)
        except ModelpoolError as error:
            code = exit_of(error)
            show_error(error, code)
            raise typer.Exit(code) from None
        except KeyboardInterrupt:
            note("Interrupted.")
            raise typer.Exit(Exit.INTERRUPTED) from None
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Exit.OK) from None


app = typer.Typer(
    name="modelpool",
    cls=Guarded,
    help="Pool trained classifiers, never data; build a meta-learner; ask it with a few images.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"modelpool {VERSION}")
        raise typer.Exit


@app.callback()
def choose(
    profile: Annotated[
        str | None,
        typer.Option(help="Which login to use.", envvar=PROFILE_VARIABLE, show_envvar=False),
    ] = None,
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """What concerns every command."""
    if profile is not None:
        os.environ[PROFILE_VARIABLE] = profile


for command in (account.login, account.logout, account.status):
    app.command()(command)
app.command()(push.push)
app.command("push-dir")(push_dir.push_dir)
app.command()(build.build)
app.command()(predict.predict)
app.command()(evaluate.evaluate)
lists.builds.command("resume")(build.resume_build)
lists.learners.command("export")(export.export_learner)
for name, group in lists.GROUPS.items():
    app.add_typer(group, name=name)
app.add_typer(aliases.aliases, name="aliases")
app.command()(completion.completion)


def run() -> NoReturn:
    """The console script."""
    app(prog_name="modelpool")
    raise SystemExit(Exit.OK)
