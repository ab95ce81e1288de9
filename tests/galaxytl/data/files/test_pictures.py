"""Encoded pictures, each read as its writer meant it or refused."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from galaxytl.data import DataError
from galaxytl.data.files.pictures import decode
from tests.galaxies import make_images

GALAXY = make_images(1)[0]


def encoded(kind: str, mode: str = "RGB", **settings: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(GALAXY).convert(mode).save(file, kind, **settings)
    return file.getvalue()


def saved(picture: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


GREY = Image.fromarray(GALAXY[..., 0])
OPAQUE = Image.fromarray(np.dstack([GALAXY, np.full((256, 256), 255, np.uint8)]))
PALETTE = Image.fromarray(GALAXY).quantize(64)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "BMP"])
def test_grey_becomes_three_equal_channels_and_palettes_their_colours(kind: str) -> None:
    assert np.array_equal(decode(saved(GREY, kind)), np.repeat(GALAXY[..., :1], 3, axis=2))
    assert np.array_equal(decode(saved(PALETTE, kind)), np.asarray(PALETTE.convert("RGB")))
    black_and_white = GREY.point(lambda value: 255 * (value > 30)).convert("1")
    assert np.array_equal(decode(saved(black_and_white, kind)), np.asarray(black_and_white.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_an_opaque_alpha_channel_is_dropped(kind: str) -> None:
    assert np.array_equal(decode(saved(OPAQUE, kind)), GALAXY)
    assert np.array_equal(decode(saved(OPAQUE.convert("LA"), kind))[..., 0], np.asarray(OPAQUE.convert("L")))


def see_through() -> bytes:
    picture = OPAQUE.copy()
    picture.putpixel((3, 3), (0, 0, 0, 254))
    return saved(picture, "PNG")


def empty(width: int, height: int) -> bytes:
    return saved(Image.new("1", (width, height)), "PNG")


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_pictures_without_loss_keep_every_pixel_and_are_upright(kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(decode(encoded(kind, **lossless)), GALAXY)
    assert np.array_equal(decode(encoded(kind, exif=turned(6), **lossless)), np.rot90(GALAXY, -1))
    assert np.array_equal(decode(encoded(kind, exif=turned(2), **lossless)), GALAXY[:, ::-1])


def test_srgb_is_srgb_by_whatever_name() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(decode(encoded("PNG", icc_profile=profile)), GALAXY)
    assert decode(encoded("JPEG", quality=95)).shape == (256, 256, 3)


def tiff_of_16_bits() -> bytes:
    bits_at = 8 + 2 + 12 * 9 + 4
    data = GALAXY.astype("<u2").tobytes()
    values = {256: 256, 257: 256, 259: 1, 262: 2, 273: bits_at + 6, 277: 3, 278: 256, 279: len(data)}
    tags = [(tag, 4, 1, value) for tag, value in values.items()] + [(258, 3, 3, bits_at)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I3H", 0, 16, 16, 16) + data


def png_with(kind: bytes, content: bytes) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add(kind, content)
    return encoded("PNG", pnginfo=info)


def pages(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(GALAXY).save(file, kind, save_all=True, append_images=[Image.fromarray(255 - GALAXY)])
    return file.getvalue()


def adobe_rgb() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 2
    return encoded("JPEG", exif=exif)


def large_tile() -> bytes:
    """A TIFF of a tile of 0.8 GB, beside a second tag that says that it is small."""
    side, tile = 256, 16_000
    tags = (
        (256, side),
        (257, side),
        (259, 8),
        (262, 2),
        (277, 3),
        (322, tile),
        (322, side),
        (323, tile),
        (324, 8),
        (325, 9),
    )
    return (
        b"II*\0"
        + struct.pack("<IH", 8, len(tags))
        + b"".join(struct.pack("<HHII", n, 4, 1, v) for n, v in tags)
        + bytes(99)
    )


PNG_16 = encoded("PNG")[:24] + b"\x10" + encoded("PNG")[25:]
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff_of_16_bits(), "of type uint16"),
        (PNG_16, "of type uint16"),
        (encoded("TIFF", "F"), "8 bits a band; got one of type float32"),
        (encoded("TIFF", "LAB"), "must be RGB or grey; got LAB"),
        (encoded("PNG", "I;16"), "8 bits a band; got one of type uint16"),
        (encoded("JPEG", "CMYK"), "must be RGB or grey; got CMYK"),
        (see_through(), "must be opaque"),
        (saved(PALETTE, "GIF", transparency=PALETTE.getpixel((0, 0))), "must be opaque"),
        (saved(Image.fromarray(GALAXY), "PNG", transparency=tuple(GALAXY[0, 0].tolist())), "must be opaque"),
        (empty(1, 1), "8 to 16,384 pixels a side"),
        (empty(20_000, 8), "8 to 16,384 pixels a side"),
        (empty(20_000, 20_000), "8 to 16,384 pixels a side"),
        (empty(9_000, 9_000), "at most 67,108,864 in all; got 9000 x 9000"),
        (pages("TIFF"), "one page; got 2"),
        (pages("WEBP"), "one page; got 2"),
        (pages("PNG"), "one page; got 2"),
        (pages("GIF"), "one page; got 2"),
        (encoded("PNG", icc_profile=LAB), "must be sRGB; got the colour profile 'Lab"),
        (encoded("PNG", icc_profile=b"no profile"), "must be sRGB; got the colour profile 'that cannot be read'"),
        (png_with(b"gAMA", struct.pack(">I", 100_000)), "must be sRGB; got a gamma of 1"),
        (adobe_rgb(), "must be sRGB; got Adobe RGB"),
        (large_tile(), "at most 1024 pixels a side"),
        (encoded("JPEG")[:-2] + b"\xff\xda" * 1001, "at most 1,000 scans"),
        (encoded("TIFF")[:9000], "cannot be decoded"),
        (encoded("PNG")[:12], "cannot be decoded: it begins as PNG does"),
        (b"%PDF-1.7 and more", "one of PNG, JPEG, WEBP, TIFF, GIF, BMP; got a PDF file"),
        (b"galaxy", "got a file that begins with b'galaxy'"),
        (b"", "got an empty file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_pixels_alone_do_not_tell_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode(data)
