"""Log in, log out, look where one is."""

import os
import sys
from typing import Annotated

import typer

from modelpool import credentials
from modelpool.cli.connection import connect
from modelpool.cli.output import (
    Json,
    busy,
    hint,
    note,
    print_fields,
    print_json,
    print_table,
    say,
    size,
)
from modelpool.client import Client
from modelpool.errors import UnusableFile
from modelpool.records import Quota

LOCAL = "http://127.0.0.1:8000"


def login(
    url: Annotated[str | None, typer.Argument(metavar="URL", help="The server's address.")] = None,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the API key from standard input.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Keep a server's address and your API key, after trying them.

    The key is asked for and not shown. Where nobody can be asked, set MODELPOOL_URL and
    MODELPOOL_KEY instead, or pipe it: `modelpool login URL --key-stdin < file`.
    """
    address = credentials.normal_url(url or _ask_url())
    if credentials.travels_open(address):
        note("Warning: http:// shows your key to everyone on the way; use https://.", "yellow")
    key = sys.stdin.readline().strip() if key_stdin else _ask_key()
    with Client(address, key) as client, busy("Trying them"):
        version = client.check_version()
        usage = client.usage()
    path = credentials.keep(address, key)
    if as_json:
        print_json({"url": address, "organisation_id": usage["organisation_id"], **version})
        return
    say(f"Logged in to {address} (Modelpool {version['version']}).")
    say(f"Organisation {usage['organisation_id']}. Kept in {path}, for this account alone.")
    if os.environ.get(credentials.KEY_VARIABLE):
        note(f"{credentials.KEY_VARIABLE} is set and goes before what was kept.", "yellow")
    hint("modelpool push model.safetensors")


def _ask_url() -> str:
    if not sys.stdin.isatty():
        raise UnusableFile("Say the address: modelpool login https://pool.example.org --key-stdin")
    answer: str = typer.prompt("Server", default=os.environ.get(credentials.URL_VARIABLE, LOCAL))
    return answer


def _ask_key() -> str:
    if not sys.stdin.isatty():
        raise UnusableFile(
            "Nobody can be asked for the key here: use --key-stdin, or set "
            f"{credentials.URL_VARIABLE} and {credentials.KEY_VARIABLE}."
        )
    answer: str = typer.prompt("API key (not shown)", hide_input=True)
    return answer.strip()


def logout(as_json: Json = False) -> None:
    """Delete the address and the key that were kept; the key itself stays valid."""
    there = credentials.forget()
    if as_json:
        print_json({"logged_out": there})
        return
    say("Logged out; the key was deleted here." if there else "You were not logged in.")
    note("The key is still valid. To end it, ask whoever made it to revoke it.")


def status(as_json: Json = False) -> None:
    """Where you are logged in, as whom, and how much of your quotas is used."""
    with connect() as client, busy("Asking"):
        version, usage = client.check_version(), client.usage()
    if as_json:
        print_json({"url": client.login.url, **version, "usage": usage})
        return
    print_fields(
        [
            ("server", client.login.url),
            ("release", f"{version['version']} (API {version['api']})"),
            ("organisation", usage["organisation_id"]),
            ("login from", client.login.source),
        ]
    )
    say()
    stored = usage["stored_bytes"]
    print_table(
        ("quota", "used", "limit"),
        [
            ("stored", size(stored["used"]), size(stored["limit"])),
            _row("live models", usage["live_models"]),
            _row("builds at once", usage["concurrent_builds"]),
            _row("predictions today", usage["predictions_per_day"]),
        ],
    )


def _row(name: str, quota: Quota) -> tuple[str, str, str]:
    return name, f"{quota['used']:,}", f"{quota['limit']:,}"
