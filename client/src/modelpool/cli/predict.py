"""Label images by a few labelled ones."""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from modelpool.cli.connection import LearnerId, connect, learner_id
from modelpool.cli.folders import Labelled, by_label, images_of, labelled_images
from modelpool.cli.output import Json, busy, count, note, print_json, print_table
from modelpool.errors import UnusableFile
from modelpool.records import Outlook, Prediction, Predictions

MOST_WAYS, MOST_SHOTS, MOST_QUERIES = 50, 100, 500
"""Of one request."""
MOST_QUERY_BYTES = 64 * 1024 * 1024
CSV = Annotated[bool, typer.Option("--csv", help="Print CSV; a column per class.")]


@dataclass
class Answers:
    """What came of all requests together."""

    predictions: list[Prediction] = field(default_factory=list)
    outlook: Outlook | None = None
    """What the support set lets expect; older servers do not say."""
    status: str = ""
    learner: str = ""
    """Who answered: an alias may point elsewhere by the next request."""
    seconds: float = 0.0
    """At the server."""

    def add(self, came: Predictions) -> None:
        """One more request's; the support set is the same in all."""
        self.predictions += came["predictions"]
        self.outlook = came.get("outlook")
        self.status = came["meta_learner_status"]
        self.learner = came["meta_learner_id"]
        self.seconds += came["timing_ms"] / 1000


def predict(
    learner: LearnerId,
    support: Annotated[
        Path, typer.Option("--support", "-s", help="folder/<class>/*.jpg: a few of each class.")
    ],
    query: Annotated[
        list[Path], typer.Option("--query", "-q", help="Images, or folders of them. Repeatable.")
    ],
    coverage: Annotated[
        float | None,
        typer.Option(min=0.01, max=1.0, help="Share to answer; the least sure are marked."),
    ] = None,
    teachers: Annotated[
        int | None, typer.Option(help="Of an ensemble: how many of its teachers answer.")
    ] = None,
    as_json: Json = False,
    as_csv: CSV = False,
) -> None:
    """Label images by a few labelled ones; the server keeps none, and no file name is sent."""
    known, asked = labelled_images(support), images_of(query)
    check_support(known)
    answers = Answers()
    with connect() as client:
        found_id = learner_id(client, learner)
        labelled = [(each.label, each.path.read_bytes()) for each in known]
        with busy(f"Asking about {count(len(asked), 'image')}"):
            for images in batches(asked):
                answers.add(
                    client.predict(
                        answers.learner or found_id,
                        support=labelled,
                        query=images,
                        teachers=teachers,
                        coverage=coverage,
                    )
                )
    found = list(zip(asked, answers.predictions, strict=True))
    if as_json:
        predictions = [{"image": str(path), **answer} for path, answer in found]
        told = {"outlook": answers.outlook, "predictions": predictions}
        print_json({"meta_learner_id": answers.learner, **told})
        return
    if as_csv:
        _print_csv(found)
    else:
        _print_table(found, known)
    _say_what_to_expect(answers)


def check_support(known: Sequence[Labelled]) -> None:
    """Return if one request can hold it.

    Raises:
        UnusableFile: too many classes, or too many images of one.
    """
    classes = by_label(known)
    if len(classes) > MOST_WAYS:
        raise UnusableFile(
            f"There are {len(classes)} classes; a request takes {MOST_WAYS} at most."
        )
    large = [
        f"{label} ({len(paths)})" for label, paths in classes.items() if len(paths) > MOST_SHOTS
    ]
    if large:
        raise UnusableFile(
            f"A class takes {MOST_SHOTS} support images at most; move some away from: "
            f"{', '.join(large)}"
        )


def batches(paths: Sequence[Path]) -> Iterator[list[bytes]]:
    """Images, as many at a time as a request takes."""
    batch: list[bytes] = []
    n_bytes = 0
    for path in paths:
        image = path.read_bytes()
        if batch and (len(batch) == MOST_QUERIES or n_bytes + len(image) > MOST_QUERY_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(image)
        n_bytes += len(image)
    yield batch


def _print_table(found: Sequence[tuple[Path, Prediction]], known: Sequence[Labelled]) -> None:
    rows: list[tuple[str, ...]] = []
    for path, answer in found:
        sure = f"{answer['probabilities'][answer['label']]:.0%}"
        abstained = answer.get("abstained", False)
        label = f"{answer['label']}, not sure" if abstained else answer["label"]
        nearest = answer.get("nearest_support")
        like = "" if nearest is None else f"{known[nearest].label}/{known[nearest].path.name}"
        rows.append((str(path), label, sure, like))
    columns: tuple[str, ...] = ("image", "label", "probability", "most like")
    if not any(row[3] for row in rows):
        columns, rows = columns[:3], [row[:3] for row in rows]
    print_table(columns, rows)


def _say_what_to_expect(answers: Answers) -> None:
    """Beside the answers: how far to believe them."""
    outlook = answers.outlook
    if outlook is not None and outlook["expected_accuracy"] is not None:
        low, high = outlook["interval"] or (0.0, 1.0)
        note(
            f"Expect {outlook['expected_accuracy']:.0%} of such answers to be right (95 %: "
            f"{low:.0%} to {high:.0%}), by leaving out {outlook['images_left_out']} support images."
        )
    for warning in outlook["warnings"] if outlook else ():
        note(f"! {warning['message']}", "yellow")
    if answers.status == "tainted":
        note("! A model that it learnt from was withdrawn since: build anew.", "yellow")


def _print_csv(found: Sequence[tuple[Path, Prediction]]) -> None:
    labels = sorted(found[0][1]["probabilities"])
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "label", "abstained", *labels])
    for path, answer in found:
        numbers = [f"{answer['probabilities'][label]:.6f}" for label in labels]
        abstained = "yes" if answer.get("abstained", False) else "no"
        writer.writerow([str(path), answer["label"], abstained, *numbers])
