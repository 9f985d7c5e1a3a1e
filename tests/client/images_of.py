"""Small images that a brightness detector would tell apart."""

import io
from pathlib import Path

from PIL import Image

SHADES = {"dark": (5, 15, 25, 35, 45), "bright": (205, 215, 225, 235, 245)}


def png(shade: int, size: int = 24) -> bytes:
    """A grey square, encoded."""
    buffer = io.BytesIO()
    Image.new("L", (size, size), shade).save(buffer, "PNG")
    return buffer.getvalue()


def class_folders(root: Path, *, per_class: int = 5) -> Path:
    """`root/<class>/<n>.png` for both classes."""
    for name, shades in SHADES.items():
        (root / name).mkdir(parents=True)
        for number, shade in enumerate(shades[:per_class]):
            (root / name / f"{name}-{number}.png").write_bytes(png(shade))
    return root
