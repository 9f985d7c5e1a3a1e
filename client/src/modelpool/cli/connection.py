"""The server that a command talks to."""

import math
from typing import Annotated

import typer

from modelpool.cli.output import duration, note
from modelpool.client import Client
from modelpool.errors import ModelpoolError
from modelpool.wire import Patience, Pause

LearnerId = Annotated[
    str, typer.Argument(metavar="LEARNER", help="A meta-learner's id, `pool@alias`, or `latest`.")
]
WORTH_SAYING_S = 2.0
PATIENT, BRIEF = Patience(tries=10), Patience(tries=3, first_s=0.3)


def connect(*, patient: bool = False) -> Client:
    """A client of the server that was logged in to.

    Args:
        patient: whether to wait out a server or a link that is away for a while; else an address
            that is wrong is told at once.

    Raises:
        NotLoggedIn: none was.
        Unreachable, WrongServer: of a patient one, which looks once before it begins.
    """
    if not patient:
        return Client(on_pause=_say_pause, patience=BRIEF)
    client = Client(on_pause=_say_pause, patience=PATIENT)
    client.check_version()
    return client


def _say_pause(pause: Pause) -> None:
    if pause.seconds >= WORTH_SAYING_S:
        note(f"Waiting {duration(math.ceil(pause.seconds))}: {pause.why}.", style="yellow")


def learner_id(client: Client, given: str) -> str:
    """`latest` is the newest meta-learner that can be asked.

    Raises:
        ModelpoolError: there is none.
    """
    if given != "latest":
        return given
    newest = next((each for each in client.learners() if each["status"] != "retired"), None)
    if newest is None:
        raise ModelpoolError("There is no meta-learner yet. Build one: modelpool build --watch")
    return newest["id"]
