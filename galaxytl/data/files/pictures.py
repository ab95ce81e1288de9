"""One encoded picture (PNG, JPEG, WEBP, TIFF, GIF, BMP) to pixels, read as its writer meant it or refused; pixels to
PNG.

    pixels = decode(data)          # (H, W, 3) uint8, sRGB, upright
    data = png(pixels)

Grey becomes three equal channels, a palette the colours that it stands for, and an alpha channel is dropped where it is
opaque everywhere. A picture that is transparent somewhere, has more than 8 bits a band, other colours than sRGB (CMYK
too), or several pages is refused: what lies behind it and how bits are scaled is its owner's to say, and Pillow would
cut bits, take numbers of one colour space for those of another, or keep the first page, and say nothing. A picture
whose EXIF says how it is to be turned is turned, as Hugging Face's `datasets` does.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.contents import described, kind_of
from galaxytl.system.locations import DataError

UNDECODABLE: Final = (OSError, SyntaxError, ValueError, struct.error, MemoryError, Warning)
"""What Pillow raises for what is no picture, beside its own."""
GZIP_LEVEL: Final = 1
"""On Galaxy10's images level 1 gives 140 kB in 2.9 ms, level 4 gives 142 kB in 4.7 ms: the sky's noise does not
compress any further. The same holds inside PNG."""
SMALLEST_SIDE: Final = 8
LARGEST_SIDE: Final = 16_384
"""Pixels."""
MOST_PIXELS: Final = 2**26
"""Of an image: 200 MB, which are held whole."""
SIDES: Final = f"{SMALLEST_SIDE} to {LARGEST_SIDE:,} pixels a side, and at most {MOST_PIXELS:,} in all"
FORMATS: Final = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP")
ENDINGS: Final = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp")
"""Of files that hold one of them."""
MODES: Final = ("RGB", "RGBA", "L", "LA", "P", "PA", "1")
"""Pillow's, of pictures whose pixels stand for grey or for red, green and blue."""
DEPTHS: Final = ("uint8", "uint1")
MOST_BYTES: Final = 16 * 2**20
"""Of an encoded picture: 85 times those of its pixels."""
MOST_SCANS: Final = 1000
"""Of a JPEG, which goes through all pixels in each: writers make 10. Numbers by chance in other files are fewer."""
LARGEST_TILE: Final = 1024
"""Pixels a side of a TIFF's tile, which is decompressed whole, however small the picture is."""
MOST_EXIF: Final = 2**16
"""Bytes, as many as a JPEG's can have. What a TIFF directory or EXIF names twice, Pillow holds twice."""
SRGB_NAMES: Final = (
    *("srgb", "iec61966-2.1", "iec61966-2-1", "iec 61966-2-1", "iec 61966-2.1"),
    *("sgray", "gray gamma 2.2"),
)
"""Of which a colour profile's description holds one, in small letters, where its colours are sRGB's."""
SRGB_GAMMA: Final = 1 / 2.2
SRGB_PRIMARIES: Final = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""x and y of white, red, green and blue (IEC 61966-2-1), in the order of PNG's chunk cHRM."""
UNCALIBRATED: Final = 65535
EXIF_FOLDER, EXIF_COLOUR_SPACE, EXIF_ORIENTATION = 0x8769, 0xA001, 0x0112
TIFF_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Of a value, by the numbers of their types."""
TIFF_BITS, TIFF_SAMPLE_FORMAT, TIFF_TILE = 258, 339, (322, 323)
"""Numbers of tags in the EXIF and TIFF standards."""


def png(image: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 3) uint8 as a PNG file: RGB, 8 bits, not interlaced.

    Every row has PNG's filter 3, the difference to the mean of the left and the upper pixel. Pillow, which tries all
    filters on each row, takes 5.0 ms for a galaxy and gives 122 kB; this takes 2.6 ms and gives 120 kB.
    """
    height, width, channels = image.shape
    pixels = np.ascontiguousarray(image).reshape(height, -1)
    mean = np.zeros(pixels.shape, np.uint16)
    mean[:, channels:] += pixels[:, :-channels]
    mean[1:] += pixels[:-1]
    mean >>= 1
    filtered = np.full((height, 1 + pixels.shape[1]), 3, np.uint8)
    np.subtract(pixels, mean.astype(np.uint8), out=filtered[:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.data, GZIP_LEVEL)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_part(kind, content) for kind, content in parts)


def _png_part(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return pixels (H, W, 3) uint8 of an encoded picture. Raises DataError, whose message has yet to say which
    picture."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    _check_bytes(data)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            _check_depth(_depth(picture))
            check_shape((picture.height, picture.width, 3), "uint8")
            if len(picture.info.get("exif", b"")) > MOST_EXIF:
                raise DataError(f"a picture's EXIF must have at most {MOST_EXIF:,} bytes; got more")
            _check_meaning(picture)
            turned = ImageOps.exif_transpose(picture) if picture.getexif().get(EXIF_ORIENTATION) else picture
            return np.asarray(_rgb(turned))
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"images must have {SIDES}; {error}") from error
    except UnidentifiedImageError as error:
        raise DataError(_no_picture(data)) from error
    except UNDECODABLE as error:
        raise DataError(f"the picture cannot be decoded: {error}") from error


def _check_bytes(data: bytes) -> None:
    """Raise DataError for what is refused before Pillow looks at it."""
    if len(data) > MOST_BYTES:
        raise DataError(f"a picture must have at most {MOST_BYTES:,} bytes; got {len(data):,}")
    if (scans := data.count(b"\xff\xda")) > MOST_SCANS:
        raise DataError(f"a picture must have at most {MOST_SCANS:,} scans; got {scans:,}. Write it anew")
    if data[:4] == b"\x89PNG" and data[24:25] == b"\x10":  # of which Pillow makes 8
        _check_depth("uint16")
    _check_tiff_directory(data)


def _check_depth(kind: str) -> None:
    if kind not in DEPTHS:
        rule = "pictures must have 8 bits a band"
        raise DataError(f"{rule}; got one of type {kind}. Scale it to 8 bits as it is to be seen, or make it FITS")


def _rgb(picture: Any) -> Any:
    """Return a picture in mode RGB. Raises DataError where one can see through it."""
    if picture.mode.endswith("A") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema()[0] < 255:
            raise DataError("pictures must be opaque; got one with transparent pixels. Draw it on a background, as RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _no_picture(data: bytes) -> str:
    """Say what is at hand instead of a picture."""
    kind = kind_of(data)
    if kind in FORMATS:
        return f"the picture cannot be decoded: it begins as {kind} does, and goes on as none can"
    return f"a picture must be one of {', '.join(FORMATS)}; got {described(data)}"


def check_shape(shape: tuple[int, ...], kind: object) -> None:
    """Raise DataError unless an image is (H, W, 3), of sides that can be used. `kind`: type of its numbers, must be
    uint8."""
    found = f"{' x '.join(map(str, shape)) or 'single numbers'} of type {kind}"
    if len(shape) != 3 or shape[2] != 3 or str(kind) != "uint8":
        raise DataError(f"images must be height x width x 3 of type uint8; got {found}")
    if not SMALLEST_SIDE <= min(shape[:2]) <= max(shape[:2]) <= LARGEST_SIDE or math.prod(shape[:2]) > MOST_PIXELS:
        raise DataError(f"images must have {SIDES}; got {found}")


def _check_tiff_directory(data: bytes) -> None:
    """Raise DataError where the tags of a TIFF take more bytes than it has, as many do that name the same ones, or
    have its tiles be large. Of two of one number Pillow believes the last, libtiff the first."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return
    is_big = 43 in data[2:4]
    header, count, entry = (f"{order}8xQ", "Q", "HHQ8s") if is_big else (f"{order}4xI", "H", "HHI4s")
    try:
        (at,) = struct.unpack_from(header, data)
        (tags,) = struct.unpack_from(f"{order}{count}", data, at)
        size = struct.calcsize(f"{order}{entry}")
        if tags * size > len(data):
            raise DataError(f"the picture cannot be decoded: it cannot have {tags:,} tags")
        first = at + struct.calcsize(f"{order}{count}")
        entries = [struct.unpack_from(f"{order}{entry}", data, first + number * size) for number in range(tags)]
        taken = sum(length * TIFF_BYTES.get(kind, 8) for _, kind, length, _ in entries)
        for tag, kind, length, value in entries:
            if tag in TIFF_TILE and not _is_small(kind, length, value, order):
                raise DataError(f"a TIFF's tiles must have at most {LARGEST_TILE} pixels a side; they have more")
    except struct.error as error:
        raise DataError(f"the picture cannot be decoded: {error}") from error
    if taken > len(data):
        raise DataError(
            f"the picture cannot be decoded: its tags must take less than the file; they take {taken:,} bytes"
        )


def _is_small(kind: int, length: int, value: bytes, order: str) -> bool:
    """Return whether a tag is one number, 16 or 32 bits, of at most LARGEST_TILE."""
    form = {3: "H", 4: "I"}.get(kind)
    return form is not None and length == 1 and int(struct.unpack_from(f"{order}{form}", value)[0]) <= LARGEST_TILE


def _depth(picture: Any) -> str:
    """Return the type of a band's numbers as the file has them: Pillow may have fewer bits."""
    tags = getattr(picture, "tag_v2", {})
    bits = tags.get(TIFF_BITS, 8)
    bits = max(bits) if isinstance(bits, tuple) else bits
    kinds = tags.get(TIFF_SAMPLE_FORMAT, 1)
    kind = max(kinds) if isinstance(kinds, tuple) else kinds
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        return {"F": "float32"}.get(picture.mode, "uint16")
    return f"{ {1: 'uint', 2: 'int', 3: 'float'}.get(kind, 'unknown') }{bits}"


def _check_meaning(picture: Any) -> None:
    """Raise DataError for what the pixels alone do not tell: other colours than sRGB, further pages."""
    if picture.mode not in MODES:
        raise DataError(f"pictures must be RGB or grey; got {picture.mode}. Convert them to 8-bit sRGB")
    if (pages := getattr(picture, "n_frames", 1)) > 1:
        raise DataError(f"a picture must have one page; got {pages}. Write each as one of its own")
    if colours := _other_colours(picture):
        raise DataError(f"the colours of pictures must be sRGB; got {colours}. Convert them to sRGB")


def _other_colours(picture: Any) -> str:
    """Return what the file says of its colours, where that is not sRGB; else empty."""
    if profile := picture.info.get("icc_profile"):
        name = _profile_name(profile)
        return "" if any(known in name.lower() for known in SRGB_NAMES) else f"the colour profile '{name}'"
    space = picture.getexif().get_ifd(EXIF_FOLDER).get(EXIF_COLOUR_SPACE, 1)
    if space not in (1, UNCALIBRATED):
        return "Adobe RGB" if space == 2 else f"the EXIF colour space {space}"
    if "srgb" in picture.info:
        return ""
    gamma = picture.info.get("gamma", SRGB_GAMMA)
    if abs(gamma - SRGB_GAMMA) > 0.01:
        return f"a gamma of {gamma:g}"
    primaries = picture.info.get("chromaticity", SRGB_PRIMARIES)
    far = any(abs(own - right) > 0.01 for own, right in zip(primaries, SRGB_PRIMARIES, strict=True))
    return "other primary colours (PNG's chunk cHRM)" if far else ""


def _profile_name(profile: bytes) -> str:
    from PIL import ImageCms

    try:
        return str(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))).strip()
    except (OSError, ImageCms.PyCMSError, ValueError):
        return "that cannot be read"
