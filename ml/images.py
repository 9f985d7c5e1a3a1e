"""A client's image bytes to a tensor: few formats, bounded work, nothing echoed, nothing kept.

Covered: decompression bombs (pixels are counted from the header before anything is decoded),
every colour mode of the four formats, camera orientation, animations (their first frame).
Not covered: colour profiles; pixels are taken as sRGB.
"""

import struct
import zlib
from io import BytesIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ml.errors import ImageTooLarge, UnreadableImage
from ml.shapes import Float

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 50_000_000  # a phone camera's full resolution; some 200 MB while being decoded
DRAFT_FACTOR = 2  # JPEGs may be decoded smaller, but not below twice the size asked for
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
WHITE = 255

# What the decoder raises on hostile bytes; a plain OSError is the usual one.
DECODER_FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    EOFError,
    TypeError,
    AttributeError,
    RuntimeError,
    Warning,
    struct.error,
    zlib.error,
)


def decode_image(
    data: bytes, *, size: int, channels: int, max_pixels: int = MAX_PIXELS
) -> Float[Tensor, "c h w"]:
    """Decode an image and bring it to a square of the given size.

    The whole picture is squeezed into the square with an antialiasing filter, as mini-ImageNet
    and the pool's teachers were made; a crop could lose the object. Transparency is laid over
    white; 16-bit greys keep their depth until they are scaled.

    Args:
        data: a PNG, JPEG, WebP or BMP file.
        size: side length of the result in pixels.
        channels: 1 (luma) or 3 (RGB).
        max_pixels: width times height refused above this, before decoding.

    Returns:
        (channels, size, size) in [0, 1].

    Raises:
        UnreadableImage: if the bytes are no such image, or break off.
        ImageTooLarge: if it has more pixels than max_pixels.
    """
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise ImageTooLarge(too_large(max_pixels))
            image.draft(image.mode, (size * DRAFT_FACTOR, size * DRAFT_FACTOR))
            image.load()
            return to_tensor(upright(image), size=size, channels=channels)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(too_large(max_pixels)) from error
    except DECODER_FAILURES as error:
        raise UnreadableImage(
            "the file is no complete PNG, JPEG, WebP or BMP image; convert it and send it again"
        ) from error


def too_large(max_pixels: int) -> str:
    """What to tell the caller."""
    return f"the image has more than {max_pixels} pixels; scale it down and send it again"


def upright(image: Image.Image) -> Image.Image:
    """Turned as the camera's orientation tag says; as it is when the tag cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except DECODER_FAILURES:
        return image


def to_tensor(image: Image.Image, *, size: int, channels: int) -> Float[Tensor, "c h w"]:
    """Scale a decoded image and convert it to the number of channels, in [0, 1]."""
    square = (size, size)
    if image.mode in DEEP_MODES:
        grey = Image.fromarray(deep_grey(image)).resize(square, Image.Resampling.BILINEAR)
        plane = torch.from_numpy(np.array(grey)).clamp(0, 1).unsqueeze(0)
        return plane.expand(channels, -1, -1).clone()
    if image.has_transparency_data:
        small = image.convert("RGBA").resize(square, Image.Resampling.BILINEAR)
        paper = Image.new("RGBA", square, (WHITE,) * 4)
        flat = Image.alpha_composite(paper, small)
    else:
        flat = image.convert("L" if image.mode in ("1", "L") else "RGB")
        flat = flat.resize(square, Image.Resampling.BILINEAR)
    values = np.array(flat.convert("L" if channels == 1 else "RGB"), dtype=np.float32) / WHITE
    return torch.from_numpy(values).reshape(size, size, channels).permute(2, 0, 1).contiguous()


def deep_grey(image: Image.Image) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """Grey of more than 8 bits as floats in [0, 1]; 16 bits are the most PNG has."""
    return np.asarray(image, dtype=np.float32) / np.float32(65535)
