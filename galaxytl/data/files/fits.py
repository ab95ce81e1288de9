"""One FITS cutout to pixels: one band is grey, three are colours, by Lupton's asinh stretch.

    cutouts = as_first(data, reading)       # which bands, decided by the dataset's first file
    pixels = cutouts.decode(data)           # (H, W, 3) uint8, the first row of the file at the bottom, as on the sky

The stretch is astropy's, of Lupton et al. 2004 (PASP 116, 133): the mean x of the bands is shown with the brightness
0.1 asinh(Q x / stretch) / asinh(0.1 Q), and colours keep the ratios of the bands. It is one for all images of a
dataset, so that brightness means the same in each. Pixels follow from it, and so does the dataset's fingerprint.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.containers import NAMES_SHOWN, about
from galaxytl.data.files.contents import HEAD, described, kind_of
from galaxytl.data.files.listed import ListedSource, content_of, place_of
from galaxytl.data.files.pictures import check_shape
from galaxytl.data.findings import HOW_READ, Finding
from galaxytl.system.locations import DataError
from galaxytl.trial.reading import Reading

Q: Final = 8.0
"""Lupton's softening, astropy's default: how much of the brightness range is logarithmic."""
TYPICAL: Final = 50
"""A stretch of so many times the median brightness, which is mostly of the sky's noise, shows that at 5 of 255."""
MOST_BYTES: Final = 64 * 2**20
"""Of a file that is not compressed, and of the numbers of an image in it."""
MOST_PARTS: Final = 100
"""Header and data units that are looked at, and bands in a cube."""
LARGEST_VALUE: Final = 1e30
"""Beyond it are no measurements: some programs write such numbers where a pixel has no value."""
ROWS: Final = 64
"""Of an image that are stretched at a time: what astropy needs for that is ten times as large."""
COMPRESSIONS: Final = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS")
"""Inside FITS. The decoders of HCOMPRESS and PLIO believe the sizes in the compressed data."""
SETTINGS: Final = {"BYTEPIX": range(1, 5), "BLOCKSIZE": range(1, 1025), "ZDITHER0": range(10_001)}
"""Of RICE, and of the noise that makes whole numbers of others."""
BY_WAVELENGTH: Final = ("fuv", "nuv", "u", "b", "g", "v", "r", "i", "z", "y", "j", "h", "k", "ks")
"""Bands in small letters."""
MAGIC: Final = b"SIMPLE  ="
ENDINGS: Final = (".fits", ".fit", ".fts", ".fits.fz", ".fits.gz", ".fit.gz", ".fts.gz")
"""Of files that hold FITS."""
MANY: Final = (rb"NAXIS +=[ +0]*[0-9]{4}", rb"TFIELDS +=[ +0]*[0-9]{4}")
"""Numbers of axes and columns for which astropy would make that many lists."""
GZIP: Final = b"\x1f\x8b\x08"


@dataclass(frozen=True)
class Plane:
    """One band in a file."""

    band: str
    """What FILTER, BAND or BANDS says; "" where nothing does."""
    extension: str
    """EXTNAME."""
    unit: Any
    """The header and data unit."""
    number: int | None
    """Of the plane in a cube; None: the unit is one image."""

    def is_called(self, name: str) -> bool:
        return name.casefold() in (self.band.casefold(), self.extension.casefold())

    def __str__(self) -> str:
        return self.band or self.extension or "without a name"


@dataclass(frozen=True)
class Cutouts:
    """How the files of one dataset are read."""

    bands: tuple[str, ...]
    """One or three, by rising wavelength; ("",): the only one in each file, which has no name."""
    stretch: float

    @property
    def note(self) -> str:
        """For people."""
        if len(self.bands) == 3:
            shown = f"bands {', '.join(self.bands)} as blue, green, red"
        else:
            shown = f"band {self.bands[0]} as grey" if any(self.bands) else "one band as grey"
        return f"FITS, {shown}; asinh stretch {self.stretch:g}, Q {Q:g}"

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Return pixels (H, W, 3) uint8 of a file. Raises DataError, whose message has yet to say which file."""
        from astropy.visualization import make_lupton_rgb

        values = self.values(data)
        blue, green, red = values if len(values) == 3 else (*values, *values, *values)
        pixels = np.empty((*blue.shape, 3), np.uint8)
        with np.errstate(invalid="ignore", divide="ignore"):  # where the brightness is zero
            for start in range(0, len(pixels), ROWS):
                rows = slice(start, start + ROWS)
                pixels[rows] = make_lupton_rgb(red[rows], green[rows], blue[rows], stretch=self.stretch, Q=Q)
        return pixels[::-1]

    def values(self, data: bytes) -> list[NDArray[np.float64]]:
        """Return the numbers (H, W) of each band in a file. Raises DataError."""
        return _read(data, self._values)

    def _values(self, groups: Sequence[Sequence[Plane]]) -> list[NDArray[np.float64]]:
        arrays = [_array(plane) for plane in _choose(groups, self.bands)]
        if len(shapes := {array.shape for array in arrays}) > 1:
            sides = " and ".join(f"{height} x {width}" for height, width in sorted(shapes))
            raise DataError(f"the bands of a cutout must have one shape; got {sides}")
        if unknown := sum(int(np.sum(~(np.abs(array) < LARGEST_VALUE))) for array in arrays):
            raise DataError(
                f"every pixel must have a value; {unknown:,} of {sum(a.size for a in arrays):,} are NaN, infinite or "
                f"beyond {LARGEST_VALUE:g}. Fill them (astropy.convolution.interpolate_replace_nans), or leave it out"
            )
        return arrays


def with_cutouts(source: ListedSource, reading: Reading) -> ListedSource:
    """Return a source whose files are read as FITS, where the first of them is; else the same. Raises DataError as
    `as_first`, and where bands are asked for of other files.

    Of a Reading that wants no labels the first files may be damaged, as any others: the first that can be read says it.
    """
    if reading.wants_labels:
        return _as_one(source, str(source.names[0]), reading)
    first = None
    for name in map(str, source.names[:MOST_PARTS]):
        try:
            if (place := place_of(source.root, name)).kind() == "file" and kind_of(content_of(place)[:HEAD]):
                return _as_one(source, name, reading)
        except DataError as error:
            first = first or error
    if first:
        raise first
    return source


def _as_one(source: ListedSource, name: str, reading: Reading) -> ListedSource:
    """Return a source whose files are read as FITS, where the one of this name is; else the same. Raises DataError."""
    place = place_of(source.root, name)
    if place.kind() != "file":  # the source itself says how many are not there
        return source
    data = content_of(place)
    if not data.startswith((MAGIC, GZIP)):
        if reading.fits_bands:
            raise DataError(f"--fits-bands goes with FITS files; {place} is {described(data)}")
        return source
    with about(place):
        cutouts = as_first(data, reading)
    note = Finding(HOW_READ, False, cutouts.note)
    return replace(source, decode=cutouts.decode, findings=(*source.findings, note))


def as_first(data: bytes, reading: Reading) -> Cutouts:
    """Return how a dataset is read, of which this is the first file: its bands are those of all. Raises DataError where
    it does not tell which they are, and where the stretch does not suit its numbers."""
    bands = reading.fits_bands or _read(data, _own_bands)
    cutouts = Cutouts(tuple(bands), reading.fits_stretch)
    _check_stretch(cutouts, data)
    return cutouts


def _check_stretch(cutouts: Cutouts, data: bytes) -> None:
    """Raise DataError where an image would be all but black, or half of it bright: its unit is another."""
    typical = float(np.median(np.abs(np.mean(cutouts.values(data), axis=0))))
    half = 25.5 * math.asinh(Q * typical / cutouts.stretch) / math.asinh(0.1 * Q)
    brightest = int(cutouts.decode(data).max())
    if typical and (half > 127 or brightest < 4):
        pixels = f"half of the pixels over {half:.0f}" if half > 127 else f"no pixel over {brightest}"
        raise DataError(
            f"the stretch must suit the unit of the FITS files; {cutouts.stretch:g} gives {pixels} of 255, as the "
            f"median is {typical:.3g} from zero. Try --fits-stretch {float(f'{TYPICAL * typical:.1g}'):g}"
        )


def _read(data: bytes, read: Any) -> Any:
    """Return what `read` makes of the planes in a file: a list for each cube, and one of all images. Raises
    DataError."""
    from astropy.io import fits

    try:
        data = _unpack(data)
        with fits.open(io.BytesIO(data), memmap=False) as file:
            units = list(itertools.islice(file, MOST_PARTS))
            if any(isinstance(unit, fits.CompImageHDU) for unit in units):
                _check_compression(data)
            return read(_planes(units))
    except DataError:
        raise
    except Exception as error:  # astropy raises whatever Python does on bytes that are not as they should be
        what = " ".join(str(error).split())
        raise DataError(
            f"the file cannot be read as FITS ({len(data):,} bytes): {what}. It may be truncated or of another kind; "
            "fetch or copy it again"
        ) from error


def _unpack(data: bytes) -> bytes:
    """Return the bytes of a FITS file that gzip may have compressed. Raises DataError."""
    if data.startswith(GZIP):
        with gzip.open(io.BytesIO(data)) as file:
            data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise DataError(f"a FITS file must have at most {MOST_BYTES:,} bytes when it is unpacked; it has more")
    if not data.startswith(MAGIC):
        raise DataError(f"the file must be FITS, as the first of the dataset is; it begins with {data[:16]!r}")
    for many in MANY:
        if found := re.search(many, data):
            raise DataError(f"FITS has at most 999 axes and columns; got {found[0].decode()}...")
    return data


def _check_compression(data: bytes) -> None:
    """Raise DataError for what astropy believes in a compressed image, whatever comes of it: settings of its decoders
    in C, and tiles that inflate to more than an image may have."""
    from astropy.io import fits

    with fits.open(io.BytesIO(data), memmap=False, disable_image_compression=True) as file:
        for header in (unit.header for unit in itertools.islice(file, MOST_PARTS)):
            settings = [(str(header[key]), header.get(f"ZVAL{key[5:]}")) for key in header if key.startswith("ZNAME")]
            for name, value in (*settings, ("ZDITHER0", header.get("ZDITHER0", 0))):
                if value not in (allowed := SETTINGS.get(name.upper(), (value,))):
                    raise DataError(f"{name} of compressed FITS must be {allowed[0]} to {allowed[-1]}; got {value}")
    for match in re.finditer(re.escape(GZIP), data):
        with contextlib.suppress(zlib.error):  # these bytes by chance
            tile = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(memoryview(data)[match.start() :], MOST_BYTES + 1)
            if len(tile) > MOST_BYTES:
                raise DataError(f"an image in FITS must have at most {MOST_BYTES:,} bytes; a tile of it has more")


def _planes(units: Sequence[Any]) -> list[list[Plane]]:
    """Return the planes of each cube, then those of all images of two axes. Raises DataError where there is none."""
    images = [(unit, _shape(unit)) for unit in units if unit.is_image]
    if (most := max((shape[0] for _, shape in images if len(shape) == 3), default=0)) > MOST_PARTS:
        raise DataError(f"a cube must have at most {MOST_PARTS} bands, the first of its axes; got {most:,}")
    cubes = [_planes_of(unit, shape[0]) for unit, shape in images if len(shape) == 3]
    single = [_planes_of(unit, None)[0] for unit, shape in images if len(shape) == 2]
    groups = [*cubes, *([single] if single else [])]
    if not groups:
        parts = ", ".join(_kind(unit) for unit in units[:NAMES_SHOWN])
        raise DataError(f"a FITS cutout must have an image of two axes, or a cube of bands; it has {parts}")
    return groups


def _kind(unit: Any) -> str:
    if not unit.is_image:
        return "a table"
    return f"an image of {len(unit.shape)} axes" if unit.shape else "an empty image"


def _shape(unit: Any) -> tuple[int, ...]:
    """Return the shape that a header gives, without leading axes of length 1."""
    shape = tuple(unit.shape)
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _planes_of(unit: Any, count: int | None) -> list[Plane]:
    header, number = unit.header, count or 1
    texts = (str(header[key]).strip() for key in ("BANDS", "BAND", "FILTER", "FILTERS") if header.get(key))
    single = [str(header.get(f"BAND{n}", "")).strip() for n in range(number)]
    names = single if all(single) else _split(next(texts, ""), number)
    return [Plane(names[n], str(unit.name), unit, n if count else None) for n in range(number)]


def _split(text: str, number: int) -> Sequence[str]:
    """Return the names of so many bands in a text; "" each where these are not as many.

    >>> _split("grz", 3), _split("F435W, F606W", 2), _split("r DECam SDSS c0002 6415.0 1480.0", 1), _split("gri", 2)
    (['g', 'r', 'z'], ['F435W', 'F606W'], ['r'], ['', ''])
    """
    words = re.findall(r"[^\s,;/|]+", text)
    if number == 1:
        return words[:1] or [""]
    return next((list(names) for names in (words, text) if len(names) == number), [""] * number)


def _own_bands(groups: Sequence[Sequence[Plane]]) -> tuple[str, ...]:
    """Return the bands of the first cube in a file, or of its images, by rising wavelength. Raises DataError."""
    planes = groups[0]
    bands = [plane.band for plane in planes]
    order = [BY_WAVELENGTH.index(band.casefold()) for band in bands if band.casefold() in BY_WAVELENGTH]
    if len(planes) == 1:
        return (bands[0],)
    if len(planes) == 3 and len(set(order)) == 3:
        return tuple(band for _, band in sorted(zip(order, bands, strict=True)))
    names = ", ".join(map(str, planes[:NAMES_SHOWN]))
    rule = "one band, or three whose names are known, can be taken without --fits-bands"
    advice = "Name one, or three by rising wavelength; where they have no names, in the order in which they lie there"
    raise DataError(f"{rule}; a FITS file has {len(planes)}: {names}. {advice}")


def _choose(groups: Sequence[Sequence[Plane]], bands: Sequence[str]) -> list[Plane]:
    """Return the planes of the bands, from the first cube, or from the images, that has them all. Where nothing is
    named in it and it has as many, they are taken in their order. Raises DataError."""
    for planes in groups:
        chosen = [[plane for plane in planes if plane.is_called(band)] for band in bands]
        if all(len(same) == 1 for same in chosen):
            return [same[0] for same in chosen]
        if len(planes) == len(bands) and planes[0].unit is planes[-1].unit and not (any(bands) and planes[0].band):
            return list(planes)
    names = "; ".join(", ".join(map(str, planes[:NAMES_SHOWN])) for planes in groups[:NAMES_SHOWN])
    wanted = ", ".join(bands) if any(bands) else "one image, as the first of the dataset has"
    raise DataError(f"every FITS file must have, once each, {wanted}; this one has {names}. See --fits-bands")


def _array(plane: Plane) -> NDArray[np.float64]:
    """Return the numbers (H, W) of a plane, once its header tells that they are not too many. Raises DataError."""
    unit = plane.unit
    method = getattr(unit, "compression_type", COMPRESSIONS[0])
    if method not in COMPRESSIONS:
        raise DataError(f"FITS may be compressed by RICE or GZIP; got {method}. Decompress it: funpack FILE")
    check_shape((*_shape(unit)[-2:], 3), "uint8")
    if (size := math.prod(unit.shape) * abs(unit.header["BITPIX"]) // 8) > MOST_BYTES:
        raise DataError(f"an image in FITS must have at most {MOST_BYTES:,} bytes; it has {size:,}")
    values = unit.data.reshape(_shape(unit))
    # Not float32, whose arcsinh differs between processors in the last bit, and so would pixels and the fingerprint.
    return np.asarray(values if plane.number is None else values[plane.number], np.float64)
