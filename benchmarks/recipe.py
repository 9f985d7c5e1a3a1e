"""A recipe: one row of a table, in one TOML file, that says all that its figures depend on."""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin

from benchmarks.data import BenchmarkError

RECIPES = Path(__file__).resolve().parent / "recipes"
SPLITS = ("validation", "test")
PROTOCOLS: Mapping[str, str] = MappingProxyType(
    {
        "serving": "as the API answers: nearest centroid of unit features (FREE's and single "
        "networks' centred on the support set), BatchNorm statistics of training and support set "
        "blended",
        "paper": "the papers' meta-test: 10 SGD steps at 0.01 on all parameters, BatchNorm over "
        "each batch, so queries see each other",
        "centroid": "no adaptation: unit features of the network as it is, nearest class mean",
        "ridge": "no adaptation: the same features, ridge regression onto the classes",
    }
)
SMOKE_EPISODES, SMOKE_QUERIES = 3, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One row; the fields of a recipe file, under the same names."""

    name: str
    """The file's name without its suffix."""
    title: str
    """What the row is called."""
    dataset: str
    """Its image files are DATASET_val.npz and DATASET_test.npz, unless `files` says otherwise."""
    subject: Mapping[str, Any]
    """`kind`, one of benchmarks.subjects.KINDS, and that kind's options."""
    pool: str = ""
    """The pool's name; empty where no pool is needed."""
    table: str = "main"
    """Which table the row stands in."""
    base: str = ""
    """The recipe whose row this one is compared with."""
    note: str = ""
    """What a reader of the table should know."""
    files: Mapping[str, str | list[str]] = field(default_factory=dict)
    """Per split, a file or a folder of class folders in the data directory; or several, whose
    classes then meet in one episode."""
    image_size: int = 0
    """Side in pixels to which images are resized; 0 leaves them."""
    protocols: tuple[str, ...] = ("serving",)
    splits: tuple[str, ...] = ("test",)
    shots: tuple[int, ...] = (1, 5)
    ways: int = 5
    queries: int = 15
    """Per class."""
    episodes: int = 600
    """Per split and number of shots."""
    seeds: tuple[int, ...] = (0,)
    smoke: bool = False
    """Whether sizes were cut down to try the program; not a measurement."""

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        self._among("protocols", self.protocols, tuple(PROTOCOLS))
        self._among("splits", self.splits, SPLITS)
        self._among("files", tuple(self.files), SPLITS)
        self._check_files()
        if not isinstance(self.subject.get("kind"), str):
            self._refuse("[subject] must name its kind")
        for name, least in (("ways", 2), ("queries", 1), ("episodes", 2), ("image_size", 0)):
            if getattr(self, name) < least:
                self._refuse(f"{name} must be at least {least}")
        for name in ("protocols", "splits", "shots", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                self._refuse(f"{name} must hold at least one value and each only once")
        if min(self.shots) < 1 or min(self.seeds) < 0:
            self._refuse("shots must be positive and seeds not negative")

    def _among(self, name: str, values: tuple[str, ...], choices: tuple[str, ...]) -> None:
        for value in values:
            if value not in choices:
                self._refuse(f"{name} has {value!r}; choose among {', '.join(choices)}")

    def _check_files(self) -> None:
        for split in self.files:
            names = self.files_of(split)
            if not names or not all(isinstance(name, str) for name in names):
                self._refuse("files must name a file, or a list of files, per split")

    def _refuse(self, what: str) -> None:
        raise BenchmarkError(f"Recipe {self.name}: {what}.")

    def files_of(self, split: str) -> tuple[str, ...]:
        """The image files of a split, in the data directory."""
        suffix = {"validation": "val", "test": "test"}[split]
        named = self.files.get(split, f"{self.dataset}_{suffix}.npz")
        return (named,) if isinstance(named, str) else tuple(named)


def find_recipes(names: list[str]) -> list[Path]:
    """Paths of recipes: `all`, a name in benchmarks/recipes, or a path to a .toml file.

    `all` leaves out folders: builds in `long` take a day on a CPU, `other_pools` asks pools that
    benchmarks.pools has to train first.

    Raises:
        BenchmarkError: if there is no such recipe; the message lists the names there are.
    """
    usual = sorted(RECIPES.glob("*.toml"))
    known = {path.stem: path for path in [*usual, *sorted(RECIPES.glob("*/*.toml"))]}
    found: list[Path] = []
    for name in names:
        if name == "all":
            found += usual
        elif name in known:
            found.append(known[name])
        elif name.endswith(".toml") and Path(name).is_file():
            found.append(Path(name))
        else:
            raise BenchmarkError(
                f"There is no recipe {name!r}: give a path to a .toml file, `all`, or one of "
                f"{', '.join(known)}."
            )
    return list(dict.fromkeys(found))


def read_recipe(path: Path) -> Recipe:
    """A recipe from its file.

    Raises:
        BenchmarkError: if the file is no TOML, or a setting is unknown, missing or of the wrong
            type.
    """
    try:
        settings = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path} is no readable TOML file: {error}.") from error
    known = {each.name: each for each in fields(Recipe) if each.name not in ("name", "smoke")}
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        raise BenchmarkError(
            f"Recipe {path.stem} has no setting {unknown[0]!r}; there are {', '.join(known)}."
        )
    for name, each in known.items():
        needed = each.default is MISSING and each.default_factory is MISSING
        if name in settings:
            settings[name] = _typed(path.stem, name, settings[name], each.type)
        elif needed:
            raise BenchmarkError(f"Recipe {path.stem} lacks {name!r}.")
    return Recipe(name=path.stem, **settings)


def _typed(recipe: str, name: str, value: object, declared: Any) -> object:
    """The value in its field's declared type; TOML's arrays become tuples."""
    outer = get_origin(declared) or declared
    if outer is tuple:
        item = get_args(declared)[0]
        if isinstance(value, list) and all(type(each) is item for each in value):
            return tuple(value)
    elif outer is Mapping:
        if isinstance(value, dict):
            return value
    elif type(value) is outer:
        return value
    raise BenchmarkError(f"Recipe {recipe}: {name} has a value of the wrong type.")


def smoke_recipe(recipe: Recipe) -> Recipe:
    """The same recipe with sizes at which it ends in seconds and means nothing."""
    return replace(recipe, episodes=SMOKE_EPISODES, queries=SMOKE_QUERIES, smoke=True)
