"""`python -m demo.journeys`: what the pages ask of three newcomers, in clicks, fields and seconds.

Needs a finished `make demo` that is still up, Chromium, and Playwright (`make test` installs both).
Each newcomer has a browser that knows nothing yet, and signs in. A run leaves the pool as it was:
the model that it contributed is withdrawn, and with it goes the ensemble that holds it.
"""

import argparse
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from playwright.sync_api import Browser, Error, Locator, expect, sync_playwright
from safetensors.torch import load_file, save_file

from demo import digits, server
from demo.api import Api, Record
from demo.browser import FLAGS, find_chromium
from demo.episodes import Slides, draw_episodes
from demo.errors import DemoError
from demo.person import Effort, Person, summary
from demo.screenshots import HEIGHT, WIDTH
from demo.story import Story

PATIENCE_MS = 300_000  # an ensemble takes seconds, on a busy machine a minute or two
IMAGE_SEED = 3
N_SHOT, N_QUERY = 5, 3  # images of each class to show, and to ask about
SHOWN_CLASSES = digits.UNSEEN_CLASSES[:2]
NUDGE = 1e-4  # of the output biases, so that the checkpoint is one that the server has not seen

Journey = Callable[[Person], None]


def main() -> int:
    """Walk all of them; the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.journeys", description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="how often each journey is walked")
    runs = parser.parse_args().runs
    if runs < 1:
        parser.error("--runs must be at least 1")
    running, program = server.running(), find_chromium()
    if running is None or program is None:
        no_server = "The demo's server is not up: run `make demo` first."
        print(no_server if running is None else "There is no Chromium here.", file=sys.stderr)
        return 1
    torch.set_num_threads(1)  # the machine is the server's
    expect.set_options(timeout=PATIENCE_MS)
    story = Story(n_steps=runs)
    found: dict[str, list[Effort]] = {}
    with sync_playwright() as playwright, Api(running.url, server.api_key()) as api:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            for _ in range(runs):
                with story.step("Three newcomers"):
                    for name, effort in walk_all(browser, running.url, api).items():
                        found.setdefault(name, []).append(effort)
        except (DemoError, Error, AssertionError) as error:
            print(f"A journey did not come to its end: {error}", file=sys.stderr)
            return 1
        finally:
            browser.close()
    rows = {name: summary(efforts) for name, efforts in found.items()}
    story.table(("journey", "clicks", "fields", "seconds"), rows)
    return 0


def walk_all(browser: Browser, url: str, api: Api) -> dict[str, Effort]:
    """Each journey once, in the order in which a pool comes to be of use; by name."""
    with TemporaryDirectory() as directory:
        checkpoint, manifest = changed_checkpoint(Path(directory))
        shown, asked = pictures(Path(directory))
        journeys: dict[str, Journey] = {
            "contribute a checkpoint, to its verdict": lambda person: contribute(
                person, checkpoint, manifest
            ),
            "order an ensemble, to its report": build,
            "show two classes and ask, to the answers": lambda person: predict(
                person, shown, asked
            ),
        }
        try:
            return {name: walk(browser, url, journey) for name, journey in journeys.items()}
        finally:
            withdraw(api, checkpoint.stem)


def walk(browser: Browser, url: str, journey: Journey) -> Effort:
    """One of them, from the first page on."""
    context = browser.new_context(
        base_url=url, viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB"
    )
    context.set_default_timeout(PATIENCE_MS)
    person = Person(context.new_page())
    try:
        person.page.goto("/")
        person.write(person.page.get_by_label("API key"), server.api_key())
        person.click(person.page.get_by_role("button", name="Sign in"))
        journey(person)
        return person.effort()
    finally:
        context.close()


def contribute(person: Person, checkpoint: Path, manifest: Record) -> None:
    """A checkpoint without a manifest beside it: what it does not say itself is typed."""
    page = person.page
    person.click(page.get_by_role("link", name="Pool", exact=True))
    person.click(page.get_by_role("link", name="Upload models"))
    person.choose(page.get_by_role("button", name="Choose files"), [checkpoint])
    person.write(page.get_by_label("Image side, pixels"), str(manifest["image_size"]))
    person.write(page.get_by_label("Class names"), "\n".join(manifest["class_names"]))
    for label, name in (("Mean of each channel", "mean"), ("Deviation of each channel", "std")):
        values = ", ".join(map(str, manifest["normalization"][name]))
        person.write(page.get_by_label(label), values)
    person.click(page.get_by_role("button", name="Upload 1 checkpoint"))
    ready = page.get_by_text("In the pool; builds may use it.")
    wait_for(ready, or_trouble=page.get_by_label("Why it was not taken"))


def build(person: Person) -> None:
    """Over all models of the pool."""
    page = person.page
    person.click(page.get_by_role("link", name="Builds", exact=True))
    person.click(page.get_by_role("link", name="Order a build"))
    person.click(page.get_by_role("radio", name="Ensemble"))
    person.click(page.get_by_role("button", name="Order the build"))
    report = page.get_by_role("heading", name="Report")
    wait_for(report, or_trouble=page.locator(".note.bad"))


def predict(person: Person, shown: dict[str, list[Path]], asked: list[Path]) -> None:
    """The playground, which comes first and asks the newest meta-learner: the ensemble."""
    page = person.page
    for number, (name, files) in enumerate(shown.items(), start=1):
        person.write(page.get_by_label(f"Name of class {number}"), name)
        person.choose(page.get_by_role("button", name=f"Add images to class {number}"), files)
    person.choose(page.get_by_role("button", name="Choose images"), asked)
    expect(page.locator(".answer .verdict")).to_have_count(len(asked))


def wait_for(wanted: Locator, *, or_trouble: Locator) -> None:
    """Until one of the two is seen.

    Raises:
        DemoError: it is the trouble; in the page's words.
    """
    expect(wanted.or_(or_trouble).first).to_be_visible()
    if or_trouble.is_visible():
        raise DemoError(or_trouble.inner_text())


def changed_checkpoint(directory: Path) -> tuple[Path, Record]:
    """One of the demo's checkpoints under a new name, changed a little, and what it is.

    Raises:
        DemoError: the demo's checkpoints are not there.
    """
    source = next(iter(sorted((server.VAR / "clients").glob("*.safetensors"))), None)
    if source is None:
        raise DemoError("The demo's checkpoints are gone; run `make demo` again.")
    rng = torch.Generator()
    rng.seed()  # of the system's chance: the same bytes twice would be one model, without a wait
    tensors = load_file(source)
    bias = tensors["classifier.bias"]
    tensors["classifier.bias"] = bias + NUDGE * torch.randn(bias.shape, generator=rng)
    path = directory / f"newcomer-{secrets.token_hex(4)}.safetensors"
    save_file(tensors, path)
    manifest: Record = json.loads(source.with_suffix(".json").read_text())
    return path, manifest


def pictures(directory: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """Digits of two classes that no model knows: files to show by class, and files to ask about."""
    unseen = digits.load_digits().of_classes(SHOWN_CLASSES)
    rng = torch.Generator().manual_seed(IMAGE_SEED)
    (draw,) = draw_episodes(
        unseen, n_way=len(SHOWN_CLASSES), n_shot=N_SHOT, n_query=N_QUERY, episodes=1, rng=rng
    )
    slides = Slides(unseen)
    shown: dict[str, list[Path]] = {}
    for row, name in zip(draw.support_rows, slides.names(draw.support_rows), strict=True):
        shown.setdefault(name, []).append(_written(directory / name, slides, row))
    return shown, [_written(directory / "others", slides, row) for row in draw.query_rows]


def _written(folder: Path, slides: Slides, row: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{row}.png"
    path.write_bytes(slides.png([row])[0])
    return path


def withdraw(api: Api, name: str) -> None:
    """The model of this name, if it came into the pool: what was rejected is gone already."""
    for model in api.models():
        if model["name"] == name and model["status"] == "ready":
            api.withdraw(model["id"])


if __name__ == "__main__":
    sys.exit(main())
