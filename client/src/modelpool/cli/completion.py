"""Completion in shells."""

from enum import Enum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from modelpool.cli.output import note


class Shell(str, Enum):
    """Shells that can complete."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


HOW = {
    Shell.bash: "modelpool completion bash >> ~/.bashrc",
    Shell.zsh: "modelpool completion zsh >> ~/.zshrc",
    Shell.fish: "modelpool completion fish > ~/.config/fish/completions/modelpool.fish",
    Shell.powershell: "modelpool completion powershell >> $PROFILE",
}


def completion(shell: Annotated[Shell, typer.Argument(help="Which shell.")]) -> None:
    """Print a script that completes commands and options in a shell."""
    script = get_completion_script(
        prog_name="modelpool", complete_var="_MODELPOOL_COMPLETE", shell=shell.value
    )
    typer.echo(script)
    note(f"To keep it: {HOW[shell]}")
