"""What one run of the demo does: the digits by default, or a real pool."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import digits
from demo.api import Api
from demo.clients import run_clients
from demo.episodes import check_enough
from demo.errors import DemoError
from demo.images import LabelledImages, read_npz
from demo.pool_dir import Checkpoint, read_pool, upload_pool
from demo.server import VAR, Server, api_key
from demo.story import Story

N_QUERY = 15
SHOTS = (1, 5)
DIGITS_EPISODES, POOL_EPISODES = 60, 200
DIGITS_PRESET, POOL_PRESET = "tiny", "small"
DIGITS_WAYS, POOL_WAYS = 3, 5
CLIENTS_DIR = VAR / "clients"

Contribute = Callable[[Api, Server, Story], list[str]]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """Who contributes models, and what the meta-learner is asked about."""

    subject: str
    """What the few-shot requests show, for the verdict."""
    contribution: str
    """The title of the step in which models arrive."""
    contribute: Contribute
    """Makes models arrive; their ids."""
    pool_directory: Path
    """Where the checkpoints and manifests lie once they have been contributed."""
    images: LabelledImages
    """Of the classes that the requests show."""
    n_way: int
    episodes: int
    algorithm: str
    preset: str
    warnings: tuple[str, ...] = ()

    def checkpoints(self) -> list[Checkpoint]:
        """The clients' own files, for the baselines."""
        return read_pool(self.pool_directory)[0]


def digits_plan(*, algorithm: str, preset: str | None, episodes: int | None) -> Plan:
    """A dozen clients with digits 0-6; requests show 7, 8, 9."""

    def contribute(api: Api, server: Server, story: Story) -> list[str]:
        return run_clients(api, story, url=server.url, key=api_key(), directory=CLIENTS_DIR)

    return Plan(
        subject="digits",
        contribution=f"{digits.N_CLIENTS} clients train on their own digits (0-6) and upload",
        contribute=contribute,
        pool_directory=CLIENTS_DIR,
        images=digits.load_digits().of_classes(digits.UNSEEN_CLASSES),
        n_way=DIGITS_WAYS,
        episodes=episodes or DIGITS_EPISODES,
        algorithm=algorithm,
        preset=preset or DIGITS_PRESET,
    )


def pool_plan(
    pool: Path, data: Path, *, algorithm: str, preset: str | None, episodes: int | None
) -> Plan:
    """Somebody's own checkpoints; requests show somebody's own images.

    Raises:
        DemoError: if one of the two cannot be used; found out before anything is started.
    """
    checkpoints, alone = read_pool(pool)
    images = read_npz(data)
    try:
        check_enough(images, n_way=POOL_WAYS, per_class=max(SHOTS) + N_QUERY)
    except DemoError as error:
        raise DemoError(f"{data}: {error}") from error

    def contribute(api: Api, _: Server, story: Story) -> list[str]:
        return upload_pool(api, checkpoints, story)

    return Plan(
        subject=data.stem,
        contribution=f"Upload {len(checkpoints)} checkpoints from {pool}",
        contribute=contribute,
        pool_directory=pool,
        images=images,
        n_way=POOL_WAYS,
        episodes=episodes or POOL_EPISODES,
        algorithm=algorithm,
        preset=preset or POOL_PRESET,
        warnings=pool_warnings(checkpoints, alone, images),
    )


def pool_warnings(
    checkpoints: Sequence[Checkpoint], alone: Sequence[Path], images: LabelledImages
) -> tuple[str, ...]:
    """What a reader of the numbers should know beforehand."""
    warnings = []
    if alone:
        warnings.append(f"{len(alone)} checkpoints without a manifest beside them are left out.")
    known = {name for checkpoint in checkpoints for name in checkpoint.class_names}
    shared = [name for name in images.class_names if name in known]
    if shared:
        shown = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        warnings.append(
            f"{len(shared)} classes of the images are also in the pool ({shown}): the numbers are "
            "not about unseen classes."
        )
    if images.grouped:
        warnings.append(
            "The images come in groups of near-duplicates, which support and query may share: the "
            "numbers are too good."
        )
    return tuple(warnings)
