"""`python -m benchmarks.run RECIPE...`: measure recipes, one JSON file each.

For each recipe and seed: build the subject, select a waypoint if there are any, ask everything
under every protocol on every split, write down what came out. A recipe and seed that are there
already, with the same settings, are not measured again.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import BenchmarkError
from benchmarks.machine import (
    Stopwatch,
    describe_code,
    describe_machine,
    peak_memory,
    reset_peak_memory,
)
from benchmarks.protocols import RIDGE, Contestant, by_protocol, draw_episodes, measure
from benchmarks.recipe import Recipe, find_recipes, read_recipe, smoke_recipe
from benchmarks.results import RESULTS, Figure, Result, Run, plain, read_result, write_result
from benchmarks.stock import Stock
from benchmarks.subjects import Built, build_subject, resolve_options
from benchmarks.training import select
from ml.errors import MlError
from ml.learner import save_meta_learner

SMOKE_RESULTS = RESULTS.parent.parent / "var" / "benchmark-smoke"
DATA, POOL = "MODELPOOL_DATA", "MODELPOOL_POOL"
HEADING = ("title", "table", "base", "note")
NO_SETTING = ("name", "seeds", *HEADING)
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipes that the command line names; the process's exit code."""
    options = read_options(arguments)
    torch.set_num_threads(options.threads)
    stock = Stock(options.data, options.pool, torch.device(options.device))
    try:
        recipes = [read_recipe(path) for path in find_recipes(options.recipes)]
        for recipe in recipes:
            changed = replace(recipe, seeds=options.seeds or recipe.seeds)
            final = smoke_recipe(changed) if options.smoke else changed
            path = options.out / f"{recipe.name}.json"
            run_recipe(final, stock, path, force=options.force, keep=options.keep)
    except (BenchmarkError, MlError) as error:
        print(f"The benchmark cannot go on.\n{error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Finished seeds are kept; the same command goes on.", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    return 0


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", help="names, .toml files, or all")
    parser.add_argument("--data", type=Path, default=_from_environment(DATA), help=f"or {DATA}")
    parser.add_argument("--pool", type=Path, default=_from_environment(POOL), help=f"or {POOL}")
    parser.add_argument("--out", type=Path, help="directory of results")
    parser.add_argument("--seeds", type=_numbers, default=(), help="instead of the recipe's: 0,1")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: try, do not measure")
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    parser.add_argument("--keep", type=Path, help="directory for the learners that were built")
    options = parser.parse_args(arguments)
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no CUDA device; take cpu")
    options.out = options.out or (SMOKE_RESULTS if options.smoke else RESULTS)
    return options


def _from_environment(name: str) -> Path | None:
    return Path(os.environ[name]) if os.environ.get(name) else None


def _numbers(text: str) -> tuple[int, ...]:
    """Seeds from the command line: 0,1,2."""
    return tuple(int(each) for each in text.split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A recipe with everything resolved that its figures depend on."""

    recipe: Recipe
    subject: Mapping[str, Any]
    settings: Mapping[str, Any]
    heading: Mapping[str, str]


def run_recipe(
    recipe: Recipe, stock: Stock, path: Path, *, force: bool = False, keep: Path | None = None
) -> Result:
    """Measure the seeds of a recipe that its file lacks; the file grows seed by seed.

    Raises:
        BenchmarkError: if the recipe, its data or its pool cannot be used, or a trial would
            overwrite a measurement.
    """
    plan = plan_of(recipe, stock)
    result = earlier_result(plan, path, force=force)
    done = {run.seed for run in result.runs}
    if done:
        write_result(path, result)  # a changed heading shows at once
    for seed in recipe.seeds:
        if seed in done:
            say(f"{recipe.name}, seed {seed}: is there already")
            continue
        say(f"{recipe.name}, seed {seed}: measuring")
        run = measure_seed(plan, stock, seed, keep=keep)
        runs = sorted([*result.runs, run], key=lambda each: each.seed)
        result = replace(result, runs=tuple(runs))
        write_result(path, result)
        for figure in run.figures:
            say(f"  {line_of(figure)}")
    return result


def plan_of(recipe: Recipe, stock: Stock) -> Plan:
    """Resolve options, find the data and the pool, and write down all of it."""
    subject = resolve_options(recipe)
    described = asdict(recipe)
    settings = {name: value for name, value in described.items() if name not in NO_SETTING}
    settings |= {
        "subject": subject,
        "device": stock.device.type,
        "ridge": RIDGE if "ridge" in recipe.protocols else None,
        "data": {split: stock.split(recipe, split).sha256 for split in recipe.splits},
        "pool": stock.pool(recipe).facts() if recipe.pool else None,
    }
    return Plan(
        recipe=recipe,
        subject=subject,
        settings=plain(settings),
        heading={name: described[name] for name in HEADING},
    )


def earlier_result(plan: Plan, path: Path, *, force: bool) -> Result:
    """The runs that the file has of these very settings; none if they differ."""
    new = Result(name=plan.recipe.name, heading=plan.heading, settings=plan.settings)
    if not path.is_file():
        return new
    old = read_result(path)
    if plan.recipe.smoke and not old.smoke:
        raise BenchmarkError(f"{path} is a measurement; a trial must not replace it: change --out.")
    if force or old.settings != plan.settings:
        return new
    return replace(new, runs=old.runs)


def measure_seed(plan: Plan, stock: Stock, seed: int, *, keep: Path | None = None) -> Run:
    """Build, select, ask; with what it cost. What was built last is kept if there is a place."""
    recipe = plan.recipe
    reset_peak_memory(stock.device)
    with Stopwatch() as build:
        built = build_subject(stock, recipe, plan.subject, seed)
    if keep is not None and built.learner is not None:
        keep.mkdir(parents=True, exist_ok=True)
        save_meta_learner(keep / f"{recipe.name}_{seed}.safetensors", built.learner)
    with Stopwatch() as evaluation:
        facts, named = candidates(built, stock, recipe)
        figures = tuple(
            figure
            for waypoint, contestants in named.items()
            for figure in ask(waypoint, contestants, stock, recipe)
        )
    facts |= {
        "machine": describe_machine(stock.device),
        "code": describe_code(),
        "build": {"wall_s": build.wall_s, "cpu_s": build.cpu_s},
        "evaluation": {"wall_s": evaluation.wall_s, "cpu_s": evaluation.cpu_s},
        "memory": peak_memory(stock.device),
    }
    return Run(seed=seed, figures=figures, facts=plain(facts))


def candidates(
    built: Built, stock: Stock, recipe: Recipe
) -> tuple[dict[str, Any], dict[str, Mapping[str, Contestant]]]:
    """Who is asked, under the names that results use; and what led to the choice."""
    facts = dict(built.facts)
    if built.waypoints is None:
        return facts, {"untrained": built.contestants}
    named: dict[str, Mapping[str, Contestant]] = {"last": built.contestants}
    if built.waypoints:
        selection = select(stock, recipe, built.waypoints)
        facts["selection"] = selection.facts
        named["selected"] = by_protocol(selection.chosen.learner.to(stock.device))
    return facts, named


def ask(
    waypoint: str, contestants: Mapping[str, Contestant], stock: Stock, recipe: Recipe
) -> Iterator[Figure]:
    """Every protocol on every split, with every number of shots."""
    for split_name in recipe.splits:
        split = stock.split(recipe, split_name)
        for protocol in recipe.protocols:
            answer = contestants[protocol](split)
            for n_shot in recipe.shots:
                rows = draw_episodes(recipe, split, n_shot)
                yield Figure(
                    waypoint=waypoint,
                    split=split_name,
                    protocol=protocol,
                    n_shot=n_shot,
                    accuracy=measure(answer, rows, n_shot),
                )


def line_of(figure: Figure) -> str:
    """A figure for the terminal."""
    accuracy = figure.accuracy
    return (
        f"{figure.waypoint}, {figure.split}, {figure.protocol}, {figure.n_shot}-shot: "
        f"{100 * accuracy.mean:.1f} ± {100 * accuracy.half_width_95:.1f} % (n = {accuracy.n})"
    )


def say(line: str) -> None:
    """A line on the terminal, at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
