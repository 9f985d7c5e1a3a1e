"""What became of a checkpoint."""

import math

from modelpool.cli.output import count, err, moment, plain, print_fields, say, size
from modelpool.records import Model

AS_EXPECTED = 0.5  # a reliability from here on


def print_verdict(model: Model) -> None:
    """Ready, or rejected with the reason and the recipe."""
    if model["status"] == "ready":
        classes = count(len(model["class_names"] or ()), "class", "classes")
        say(
            f"Ready: {model['name']} is {model['id']} in pool {model['pool']} "
            f"({model['backbone']}, {classes})."
        )
        return
    console = err()
    console.print(
        f"{plain(model['status'].capitalize())}: {plain(model['name'])}", style="bold red"
    )
    if model["reason"]:
        console.print(plain(model["reason"]))
    if model["recipe"]:
        console.print("What to do:", style="bold")
        for line in model["recipe"].splitlines():
            console.print(f"  {plain(line)}", soft_wrap=True)  # it may be code to copy


def reliability(model: Model) -> str | None:
    """How much a model behaves like a trained one, in a number and in words; None if unknown."""
    value = model.get("reliability")  # older servers do not tell
    if value is None:
        return None
    shown = math.floor(value * 100) / 100  # what is doubtful never looks like 0.50
    return f"{shown:.2f}, {'as expected' if value >= AS_EXPECTED else 'doubtful'}"


def print_model(model: Model) -> None:
    """The whole record, as far as it is shown."""
    normalization = model["normalization"]
    print_fields(
        [
            ("model", model["id"]),
            ("name", model["name"]),
            ("status", model["status"]),
            ("why", model["reason"]),
            ("what to do", model["recipe"]),
            ("pool", model["pool"]),
            ("yours", "yes" if model["mine"] else "no"),
            ("backbone", model["backbone"]),
            ("classes", ", ".join(model["class_names"] or ())),
            ("images", f"{model['image_size']} px, {count(model['channels'], 'channel')}"),
            ("mean", normalization and ", ".join(f"{x:g}" for x in normalization["mean"])),
            ("std", normalization and ", ".join(f"{x:g}" for x in normalization["std"])),
            ("domain", model["domain"]),
            ("description", model["description"]),
            ("size", size(model["size_bytes"])),
            ("parameters", model["n_parameters"] and f"{model['n_parameters']:,}"),
            ("reliability", reliability(model)),
            ("sha256", model["sha256"]),
            ("uploaded", moment(model["created_at"])),
        ]
    )
