"""Take a meta-learner along, to where no server is."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from modelpool.cli.connection import LearnerId, connect, learner_id
from modelpool.cli.folders import labelled_images
from modelpool.cli.output import Json, busy, print_json, say, size
from modelpool.cli.predict import check_support
from modelpool.errors import UnusableFile


class Form(str, Enum):
    """Kinds of files that a server writes."""

    torch = "torch"
    onnx = "onnx"


SUFFIXES = {Form.torch: "zip", Form.onnx: "onnx"}


def export_learner(
    learner: LearnerId,
    form: Annotated[
        Form, typer.Option("--format", help="torch: a zip with a script, predict.py; or onnx.")
    ] = Form.torch,
    support: Annotated[
        Path | None,
        typer.Option("--support", "-s", help="folder/<class>/*.jpg: a classifier of these."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where it goes.")] = None,
    as_json: Json = False,
) -> None:
    """Save a meta-learner, or with --support a classifier, as a file that needs no server.

    The pool's record says who took it. Ensembles are made of other people's models and stay.
    """
    known = labelled_images(support) if support is not None else []
    check_support(known)
    with connect() as client, busy("Exporting"):
        found_id = client.learner(learner_id(client, learner))["id"]
        path = output or Path(f"{found_id}.{SUFFIXES[form]}")
        if path.exists():
            raise UnusableFile(f"{path} is there already; say another with --output.")
        if known:
            images = [(each.label, each.path.read_bytes()) for each in known]
            adaptation = client.adapt(found_id, support=images)
            data = client.export_adaptation(adaptation["id"], form=form.value)
            client.end_adaptation(adaptation["id"])
        else:
            data = client.export(found_id, form=form.value)
        path.write_bytes(data)
    if as_json:
        print_json({"meta_learner_id": found_id, "file": str(path), "size_bytes": len(data)})
        return
    say(f"Saved {path} ({size(len(data))}).")
