"""Images in folders: `folder/<class>/*.jpg`, or just images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelpool.errors import UnusableFile

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_LABEL_CHARS = 200


@dataclass(frozen=True)
class Labelled:
    """An image's file and its class."""

    label: str
    path: Path


def is_image(path: Path) -> bool:
    """By its suffix; what is in it, the server sees."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def labelled_images(folder: Path) -> list[Labelled]:
    """The images of `folder/<class>/`, by class and name.

    Raises:
        UnusableFile: there are fewer than two classes with images.
    """
    if not folder.is_dir():
        raise UnusableFile(f"{folder} is no folder. It holds a folder of images for each class.")
    found = [
        Labelled(label=each.name, path=path)
        for each in sorted(folder.iterdir())
        if each.is_dir() and not each.name.startswith(".")
        for path in sorted(each.iterdir())
        if is_image(path)
    ]
    n_classes = len({each.label for each in found})
    if n_classes < 2:
        raise UnusableFile(
            f"{folder} holds {n_classes} class{'es' * (n_classes != 1)} with images; two at least "
            f"are needed: {folder}/cat/1.jpg, {folder}/dog/1.jpg "
            f"({', '.join(SUFFIXES)})"
        )
    long = [each.label for each in found if len(each.label) > MOST_LABEL_CHARS]
    if long:
        raise UnusableFile(f"A class name has at most {MOST_LABEL_CHARS} characters; rename it.")
    return found


def images_of(paths: Sequence[Path]) -> list[Path]:
    """Images that were named, and those of folders that were, each once.

    Raises:
        UnusableFile: one is neither, or a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if is_image(each))
            if not inside:
                raise UnusableFile(f"{path} holds no image ({', '.join(SUFFIXES)}).")
            found += inside
        elif is_image(path):
            found.append(path)
        else:
            raise UnusableFile(f"{path} is no image that is taken ({', '.join(SUFFIXES)}).")
    return list(dict.fromkeys(found))


def by_label(images: Sequence[Labelled]) -> dict[str, list[Path]]:
    """Files by class."""
    classes: dict[str, list[Path]] = {}
    for each in images:
        classes.setdefault(each.label, []).append(each.path)
    return classes
