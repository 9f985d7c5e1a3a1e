"""Recipe files are read strictly, and all that are committed are usable."""

from pathlib import Path

import pytest

from benchmarks.data import BenchmarkError
from benchmarks.recipe import RECIPES, find_recipes, read_recipe
from benchmarks.subjects import resolve_options
from ml.algorithms.free_config import PRESETS

MINIMAL = 'title = "t"\ndataset = "d"\n'
SUBJECT = '[subject]\nkind = "pixels"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(RECIPES.glob("**/*.toml")), ids=lambda path: path.stem)
def test_every_committed_recipe_resolves_and_its_base_exists(path: Path) -> None:
    recipe = read_recipe(path)
    assert resolve_options(recipe)["kind"] == recipe.subject["kind"]
    assert not recipe.base or path.with_name(f"{recipe.base}.toml").is_file()


def test_all_rows_of_a_data_set_are_asked_about_the_same_files() -> None:
    files: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for recipe in map(read_recipe, sorted(RECIPES.glob("**/*.toml"))):
        for split in recipe.splits:
            files.setdefault((recipe.dataset, split), set()).add(recipe.files_of(split))
    assert {where: names for where, names in files.items() if len(names) > 1} == {}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("switch_*.toml")), ids=lambda path: path.stem)
def test_a_switch_changes_one_setting_of_its_base_and_stays_off_the_test_classes(
    path: Path,
) -> None:
    recipe = read_recipe(path)
    assert recipe.splits == ("validation",)
    if recipe.base:
        base = read_recipe(RECIPES / f"{recipe.base}.toml")
        ours, theirs = (resolve_options(each)["config"] for each in (recipe, base))
        assert len([name for name in ours if ours[name] != theirs[name]]) == 1
        assert (recipe.seeds, recipe.episodes) == (base.seeds, base.episodes)


def test_a_recipe_keeps_what_the_file_says_and_the_papers_protocol_where_it_is_silent(
    tmp_path: Path,
) -> None:
    recipe = read_recipe(write(tmp_path, MINIMAL + "seeds = [3, 1]\n" + SUBJECT))
    assert (recipe.name, recipe.seeds) == ("mine", (3, 1))
    assert (recipe.ways, recipe.shots, recipe.queries, recipe.episodes) == (5, (1, 5), 15, 600)
    assert recipe.files_of("validation") == ("d_val.npz",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "no readable TOML"),
        ('title = "t"\n' + SUBJECT, "lacks 'dataset'"),
        (MINIMAL + "episode = 3\n" + SUBJECT, "no setting 'episode'"),
        (MINIMAL + 'episodes = "3"\n' + SUBJECT, "episodes has a value of the wrong type"),
        (MINIMAL + "seeds = [true]\n" + SUBJECT, "seeds has a value of the wrong type"),
        (MINIMAL + 'protocols = ["served"]\n' + SUBJECT, "choose among serving, paper"),
        (MINIMAL + "seeds = []\n" + SUBJECT, "seeds must hold at least one value"),
        (MINIMAL + "shots = [1, 1]\n" + SUBJECT, "each only once"),
        (MINIMAL + "episodes = 1\n" + SUBJECT, "episodes must be at least 2"),
        (MINIMAL + "[subject]\n", "must name its kind"),
        (MINIMAL + SUBJECT + "[files]\ntest = []\n", "a file, or a list of files, per split"),
        (MINIMAL + SUBJECT + "[files]\ntest = [3]\n", "a file, or a list of files, per split"),
        (MINIMAL + "smoke = true\n" + SUBJECT, "no setting 'smoke'"),
    ],
)
def test_an_unusable_recipe_is_refused_with_what_is_wrong(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        read_recipe(write(tmp_path, text))


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ('kind = "magic"', "no subject is called 'magic'; choose among pixels"),
        ('kind = "ensemble"\nteachers = 3', "no option 'teachers'; it has: n_teachers"),
        ('kind = "ensemble"\nn_teachers = "3"', "n_teachers has a value of the wrong type"),
        ('kind = "free"\n[subject.config]\nouter_step = 3', "outer_step"),
    ],
)
def test_unusable_options_of_a_subject_are_refused(
    tmp_path: Path, subject: str, message: str
) -> None:
    recipe = read_recipe(write(tmp_path, f"{MINIMAL}[subject]\n{subject}\n"))
    with pytest.raises(BenchmarkError, match=message):
        resolve_options(recipe)


def test_frees_settings_are_written_out_field_by_field(tmp_path: Path) -> None:
    text = f'{MINIMAL}[subject]\nkind = "free"\n[subject.config]\npreset = "small"\nbell = false\n'
    config = resolve_options(read_recipe(write(tmp_path, text)))["config"]
    assert config["bell"] is False
    assert config["memory_tasks"] == PRESETS["small"].memory_tasks != PRESETS["paper"].memory_tasks


def test_recipes_are_found_by_name_by_path_and_all_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + SUBJECT)
    assert find_recipes(["pixels", str(path), "pixels"]) == [RECIPES / "pixels.toml", path]
    assert find_recipes(["all"]) == sorted(RECIPES.glob("*.toml"))
    assert find_recipes(["free_paper"]) == [RECIPES / "long" / "free_paper.toml"]
    with pytest.raises(BenchmarkError, match=r"no recipe 'pixel'.*pixels"):
        find_recipes(["pixel"])
