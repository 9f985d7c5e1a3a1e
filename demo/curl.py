"""A few-shot request to paste into a shell: files with neutral names, and the command."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from demo.episodes import Draw, Slides


def save_images(
    slides: Slides, draw: Draw, directory: Path, *, n_query: int
) -> tuple[list[tuple[Path, str]], list[Path]]:
    """Write an episode's support images and some queries; names do not tell the class.

    Returns:
        Support files with their labels, and query files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    support = []
    names = slides.names(draw.support_rows)
    for number, data in enumerate(slides.png(draw.support_rows), start=1):
        path = directory / f"support-{number}.png"
        path.write_bytes(data)
        support.append((path, names[number - 1]))
    query = []
    step = max(len(draw.query_rows) // n_query, 1)
    for number, data in enumerate(slides.png(draw.query_rows[::step][:n_query]), start=1):
        path = directory / f"query-{number}.png"
        path.write_bytes(data)
        query.append(path)
    return support, query


def curl_command(
    url: str,
    meta_learner_id: str,
    *,
    key_file: Path,
    support: Sequence[tuple[Path, str]],
    query: Sequence[Path],
) -> str:
    """The request as a shell command, one form part per line; paths are relative to here."""
    key = f"$(cat {shlex.quote(short(key_file))})"
    lines = [
        f"curl -sS {shlex.quote(f'{url}/v1/meta-learners/{meta_learner_id}/predictions')}",
        f'-H "Authorization: Bearer {key}"',
    ]
    for path, label in support:
        lines.append(
            f"-F {form_file('support', path)} --form-string {shlex.quote(f'labels={label}')}"
        )
    lines += [f"-F {form_file('query', path)}" for path in query]
    return " \\\n  ".join(lines)


def form_file(part: str, path: Path) -> str:
    """curl's notation for a file in a form, quoted for curl (which splits at , and ;) and shell."""
    name = short(path).replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'{part}=@"{name}"')


def short(path: Path) -> str:
    """The path from the current directory where it lies below, as a person would type it."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # links stay as they were given
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
