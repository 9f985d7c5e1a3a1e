import io
import struct
import zlib

import pytest
import torch
from PIL import Image

from ml.errors import ImageTooLarge, UnreadableImage
from ml.images import decode_image


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def halves(mode: str, left, right, size: tuple[int, int] = (40, 20)) -> Image.Image:
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, size[0], size[1]))
    return image


def test_pixels_are_fractions_in_channel_height_width_order():
    image = Image.new("RGB", (2, 2), (255, 0, 51))
    image.putpixel((1, 0), (0, 255, 102))
    decoded = decode_image(encoded(image), size=2, channels=3)
    assert decoded.dtype == torch.float32
    torch.testing.assert_close(decoded[:, 0, 1], torch.tensor([0.0, 1.0, 0.4]))
    torch.testing.assert_close(decoded[:, 1, 0], torch.tensor([1.0, 0.0, 0.2]))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
def test_every_accepted_format_shows_the_same_picture(form):
    decoded = decode_image(encoded(halves("L", 40, 220).convert("RGB"), form), size=8, channels=3)
    assert decoded.shape == (3, 8, 8)
    torch.testing.assert_close(decoded[:, :, 1], torch.full((3, 8), 40 / 255), atol=0.03, rtol=0)
    torch.testing.assert_close(decoded[:, :, 6], torch.full((3, 8), 220 / 255), atol=0.03, rtol=0)


def palette_with_transparency() -> bytes:
    image = halves("P", 0, 1)
    image.putpalette([0, 0, 0, 0, 0, 0])
    return encoded(image, transparency=bytes([255, 0]))


SIXTEEN_BITS = Image.new("I;16", (40, 20), 0)
SIXTEEN_BITS.paste(65535, (20, 0, 40, 20))

BLACK_BESIDE_WHITE = {
    "1": encoded(halves("1", 0, 1)),
    "L": encoded(halves("L", 0, 255)),
    "LA over white": encoded(halves("LA", (0, 255), (0, 0))),
    "RGBA over white": encoded(halves("RGBA", (0, 0, 0, 255), (0, 0, 0, 0))),
    "RGBA as WebP": encoded(halves("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)), "WEBP", lossless=True),
    "P": encoded(halves("RGB", (0, 0, 0), (255, 255, 255)).convert("P")),
    "P with transparency": palette_with_transparency(),
    "I;16": encoded(SIXTEEN_BITS),
    "CMYK": encoded(halves("CMYK", (0, 0, 0, 255), (0, 0, 0, 0)), "JPEG"),
    "L as JPEG": encoded(halves("L", 0, 255), "JPEG"),
    "1 as BMP": encoded(halves("1", 0, 1), "BMP"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", BLACK_BESIDE_WHITE)
def test_every_colour_mode_shows_black_beside_white(mode, channels):
    decoded = decode_image(BLACK_BESIDE_WHITE[mode], size=10, channels=channels)
    assert decoded.shape == (channels, 10, 10)
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    assert decoded[:, :, :4].max() < 0.05
    assert decoded[:, :, 6:].min() > 0.95


def test_sixteen_bits_keep_shades_that_eight_cannot_hold():
    image = Image.new("I;16", (4, 4), 300)
    decoded = decode_image(encoded(image), size=4, channels=1)
    torch.testing.assert_close(decoded, torch.full((1, 4, 4), 300 / 65535))


def test_the_cameras_orientation_is_honoured():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: the left half comes out on top
    decoded = decode_image(encoded(halves("L", 0, 255), "JPEG", exif=exif), size=10, channels=1)
    assert decoded[:, :4].max() < 0.1
    assert decoded[:, 6:].min() > 0.9


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (8, 8), (255, 255, 255)), Image.new("RGB", (8, 8))]
    for form in ("PNG", "WEBP"):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert decode_image(data, size=8, channels=3).min() > 0.98


def test_the_whole_of_an_oblong_picture_is_kept_and_smoothed():
    """A one-pixel checkerboard shrinks to grey; a crop or plain subsampling would not."""
    image = Image.new("L", (64, 32))
    image.putdata([255 * ((x + y) % 2) for y in range(32) for x in range(64)])
    decoded = decode_image(encoded(image), size=8, channels=1)
    torch.testing.assert_close(decoded, torch.full((1, 8, 8), 0.5), atol=0.05, rtol=0)
    edge = halves("L", 0, 0, (100, 20))
    edge.paste(255, (90, 0, 100, 20))
    assert decode_image(encoded(edge), size=10, channels=1)[0, :, 9].min() > 0.8


def test_a_large_jpeg_and_its_png_look_the_same():
    gradient = Image.linear_gradient("L").resize((2000, 1500))
    png = decode_image(encoded(gradient), size=32, channels=1)
    jpeg = decode_image(encoded(gradient, "JPEG"), size=32, channels=1)
    torch.testing.assert_close(png, jpeg, atol=0.03, rtol=0)


HONEST = encoded(Image.effect_noise((64, 64), 60).convert("RGB"))
UNREADABLE = {
    "nothing": b"",
    "text": b"GIF89a, or so it says" * 10,
    "a GIF": encoded(Image.new("L", (8, 8)), "GIF"),
    "a TIFF": encoded(Image.new("L", (8, 8)), "TIFF"),
    "half a PNG": HONEST[: len(HONEST) // 2],
    "half a JPEG": encoded(Image.effect_noise((64, 64), 60), "JPEG")[:900],
    "half a WebP": encoded(Image.effect_noise((64, 64), 60).convert("RGB"), "WEBP")[:300],
    "a PNG of no data": png_header(10, 10),
    "a PNG with a broken checksum": HONEST[:60] + b"\xff\x00\xff" + HONEST[63:],
    "a PNG's signature": HONEST[:8],
    "a BMP that lies about its header": b"BM" + b"\xff" * 60,
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_whole_image_is_refused_without_repeating_its_bytes(name):
    with pytest.raises(UnreadableImage) as refusal:
        decode_image(UNREADABLE[name], size=8, channels=3)
    assert "PNG, JPEG, WebP or BMP" in str(refusal.value)
    assert "GIF89a" not in str(refusal.value)


@pytest.mark.parametrize("side", [8_000, 12_000, 100_000])
def test_a_bomb_is_refused_by_its_header_before_anything_is_decoded(side):
    """Nothing but a header: decoding it would fail in another way."""
    with pytest.raises(ImageTooLarge, match="scale it down"):
        decode_image(png_header(side, side), size=8, channels=3)


def test_the_callers_own_limit_counts():
    data = encoded(Image.new("L", (11, 10)))
    assert decode_image(data, size=8, channels=1, max_pixels=110).shape == (1, 8, 8)
    with pytest.raises(ImageTooLarge, match="109 pixels"):
        decode_image(data, size=8, channels=1, max_pixels=109)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # the decoder notes it and goes on
def test_broken_camera_data_does_not_spoil_the_picture():
    data = encoded(halves("L", 0, 255), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" * 3)
    assert decode_image(data, size=10, channels=1)[:, :, 6:].min() > 0.9
