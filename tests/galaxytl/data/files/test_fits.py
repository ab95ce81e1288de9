"""FITS cutouts: which bands they have, how they become pixels, and what is refused."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from galaxytl.data import DataError, open_dataset
from galaxytl.data.files.fits import Cutouts, as_first
from galaxytl.data.files.pictures import png
from galaxytl.trial.reading import AS_FOUND, Reading

GRZ, SCI = Reading(fits_bands=("g", "r", "z")), Reading(fits_bands=("sci",))
NOTE = "FITS, bands g, r, z as blue, green, red; asinh stretch 0.5, Q 8"


def sky(seed: int = 0) -> np.ndarray:
    """Return (3, 24, 20) float32: noise, and a red galaxy at the bottom that is brighter than white."""
    values = np.random.default_rng(seed).normal(0, 0.01, (3, 24, 20))
    values[:, 2:8, 4:9] += np.array([2, 10, 150])[:, None, None]
    values[:, 9:12, 4:9] += np.array([0.1, 0.2, 0.4])[:, None, None]
    return values.astype(np.float32)


SKY = sky()


def lupton(blue: np.ndarray, green: np.ndarray, red: np.ndarray, stretch: float = 0.5, q: float = 8) -> np.ndarray:
    """Return pixels by the equations of Lupton et al. 2004, pixel by pixel; the first row is at the bottom."""
    pixels = np.zeros((*blue.shape, 3), np.uint8)
    for place in np.ndindex(blue.shape):
        bands = np.array([red[place], green[place], blue[place]], float)
        mean = bands.mean()
        if mean > 0:
            bands = np.maximum(bands * 0.1 * np.arcsinh(q * mean / stretch) / np.arcsinh(0.1 * q) / mean, 0)
            pixels[place] = 255 * (bands / max(1, bands.max()))
    return np.flipud(pixels)


def header(**cards: Any) -> fits.Header:
    return fits.Header(cards.items())


def stored(*units: Any) -> bytes:
    """Return a FITS file: an image of an array, or units, of which the first is empty where it is an extension."""
    first, *rest = [fits.PrimaryHDU(units[0])] if isinstance(units[0], np.ndarray) else units
    file = io.BytesIO()
    fits.HDUList([first, *rest] if isinstance(first, fits.PrimaryHDU) else [fits.PrimaryHDU(), *units]).writeto(file)
    return file.getvalue()


def image(values: Any, **cards: Any) -> fits.ImageHDU:
    return fits.ImageHDU(values, header(**cards))


def packed(method: str = "RICE_1", values: np.ndarray = SKY, **how: Any) -> bytes:
    return stored(fits.CompImageHDU(values, header(BANDS="grz"), compression_type=method, **how))


CUBE = stored(fits.PrimaryHDU(SKY, header(BANDS="grz", BAND0="g", BAND1="r", BAND2="z")))
"""As legacysurvey.org gives them."""


@pytest.mark.parametrize(
    ("data", "reading"),
    [
        (CUBE, AS_FOUND),
        (CUBE, GRZ),
        (gzip.compress(CUBE), AS_FOUND),
        (stored(SKY), GRZ),
        (stored(SKY[None].astype(">f8")), GRZ),
        (stored(image(SKY[::-1], FILTER="z, r, g"), image(SKY, FILTER="grz", EXTNAME="INVVAR")), AS_FOUND),
        (stored(*(image(SKY[n], FILTER=f"{'grz'[n]} DECam SDSS") for n in (1, 2, 0))), AS_FOUND),
        (stored(image(SKY[0], EXTNAME="MASK"), *(image(SKY[n], EXTNAME="GRZ"[n]) for n in (0, 1, 2))), GRZ),
        (packed("GZIP_2", quantize_level=0), AS_FOUND),
    ],
)
def test_three_bands_are_colours_wherever_they_lie(data: bytes, reading: Reading) -> None:
    cutouts = as_first(data, reading)
    assert cutouts.note == NOTE
    assert np.array_equal(cutouts.decode(data), lupton(*SKY))


@pytest.mark.parametrize(
    ("data", "reading", "band", "values"),
    [
        (stored(SKY[1]), AS_FOUND, "one band", SKY[1]),
        (stored(SKY[1]), Reading(fits_bands=("r",)), "band r", SKY[1]),
        (stored(image(SKY[1], FILTER="r", EXTNAME="SCI")), AS_FOUND, "band r", SKY[1]),
        (stored(*(image(SKY[n], EXTNAME=("SCI", "WHT")[n]) for n in (0, 1))), SCI, "band sci", SKY[0]),
        (CUBE, Reading(fits_bands=("z",)), "band z", SKY[2]),
        (stored((1000 * SKY[0]).astype(np.int16)), Reading(fits_stretch=500), "one band", (1000 * SKY[0]).astype(int)),
    ],
)
def test_one_band_is_grey(data: bytes, reading: Reading, band: str, values: np.ndarray) -> None:
    cutouts = as_first(data, reading)
    assert cutouts.note == f"FITS, {band} as grey; asinh stretch {reading.fits_stretch:g}, Q 8"
    assert np.array_equal(cutouts.decode(data), lupton(values, values, values, reading.fits_stretch))


def test_rice_keeps_a_fraction_of_the_noise() -> None:
    noise = SKY[:, 12:]
    difference = np.abs(as_first(packed(), AS_FOUND).values(packed(values=noise)) - noise)
    assert 0 < difference.max() < 0.01 / 4


def long_axis(side: int) -> bytes:
    """A file that says that it has so many pixels a side."""
    data = stored(np.zeros((8, 8), np.float32))
    for axis in (b"NAXIS1", b"NAXIS2"):
        at = data.index(axis)
        data = data[:at] + axis + b"  = %20d" % side + data[at + 30 :]
    return data


def holes() -> np.ndarray:
    values = SKY.copy()
    values[0, :2, :3], values[1, 5, 5], values[2, 0, 0] = np.nan, np.inf, 3e38
    return values


TABLE = fits.BinTableHDU.from_columns([fits.Column("flux", "E", array=[1.0, 2.0])])


@pytest.mark.parametrize(
    ("data", "reading", "message"),
    [
        (stored(fits.PrimaryHDU()), AS_FOUND, "an image of two axes, or a cube of bands; it has an empty image$"),
        (stored(SKY[0, 0]), AS_FOUND, "it has an image of 1 axes"),
        (stored(TABLE), AS_FOUND, "it has an empty image, a table"),
        (stored(SKY), AS_FOUND, "has 3: PRIMARY, PRIMARY, PRIMARY. Name one, or three by rising wavelength"),
        (stored(*(image(SKY[n], EXTNAME="SWM"[n]) for n in range(3))), AS_FOUND, "a FITS file has 3: S, W, M"),
        (stored(fits.PrimaryHDU(SKY[[0, 1, 1, 2]], header(BANDS="griz"))), AS_FOUND, "a FITS file has 4: g, r, i, z"),
        (stored(SKY.T), AS_FOUND, "a FITS file has 20: PRIMARY, "),
        (CUBE.replace(b"NAXIS3  =                    3", b"NAXIS3  =           2000000000"), GRZ, "got 2,000,000,000"),
        (CUBE.replace(b"NAXIS   =          ", b"NAXIS   = 123456789"), GRZ, "999 axes and columns; got NAXIS   = 1234"),
        (CUBE, Reading(fits_bands=("g", "i", "z")), "must have, once each, g, i, z; this one has g, r, z"),
        (stored(SKY[[0, 1, 1, 2]]), GRZ, "this one has PRIMARY, PRIMARY, PRIMARY, PRIMARY"),
        (stored(holes()), GRZ, "every pixel must have a value; 8 of 1,440 are NaN, infinite or beyond 1e\\+30"),
        (stored(*(image(SKY[n, n:], FILTER="grz"[n]) for n in range(3))), GRZ, "got 22 x 20 and 23 x 20 and 24"),
        (stored(SKY[:, :5]), GRZ, "8 to 16,384 pixels a side"),
        (long_axis(60_000), AS_FOUND, "at most 67,108,864 in all; got 60000 x 60000"),
        (long_axis(8_000), AS_FOUND, "must have at most 67,108,864 bytes; it has 256,000,000"),
        (gzip.compress(bytes(2**26 + 1)), AS_FOUND, "at most 67,108,864 bytes when it is unpacked"),
        (packed("GZIP_1", np.zeros((10_000, 10_000), np.uint8), tile_shape=(10_000, 10_000)), AS_FOUND, "a tile of it"),
        (packed().replace(b"4 / bytes per pixel", b"0 / bytes per pixel"), AS_FOUND, "BYTEPIX of .* 1 to 4; got 0"),
        (packed("HCOMPRESS_1", SKY[0]), AS_FOUND, "may be compressed by RICE or GZIP; got HCOMPRESS_1"),
        (stored(500 * SKY), GRZ, "gives half of the pixels over 1[0-9]{2} of 255.*Try --fits-stretch [12]00$"),
        (stored(1e-4 * (SKY % 0.01)), GRZ, "gives no pixel over 0 of 255.*Try --fits-stretch [0-9]e-05$"),
        (CUBE[:100], GRZ, r"cannot be read as FITS \(100 bytes\).* It may be truncated"),
        (CUBE[:2880], GRZ, "cannot be read as FITS .* It may be truncated"),
        (CUBE[:6000], GRZ, "cannot be read as FITS .* It may be truncated"),
        (gzip.compress(CUBE)[:900], GRZ, "cannot be read as FITS .* It may be truncated"),
        (b"SIMPLE  = no FITS" * 1000, GRZ, "cannot be read as FITS"),
        (b"\x89PNG\r\n", GRZ, "must be FITS, as the first of the dataset is; it begins with b'.x89PNG"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")  # about the same
def test_what_is_no_cutout(data: bytes, reading: Reading, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_first(data, reading)


def test_all_files_have_the_bands_of_the_first() -> None:
    nameless = as_first(stored(SKY[0]), AS_FOUND)
    assert nameless.decode(stored(image(SKY[1], FILTER="r"))).shape == (24, 20, 3)
    for cutouts, other, message in [
        (nameless, CUBE, "must have, once each, one image, as the first of the dataset has; this one has g, r, z"),
        (Cutouts(("g",), 0.5), stored(image(SKY[1], FILTER="r")), "must have, once each, g; this one has r"),
    ]:
        with pytest.raises(DataError, match=message):
            cutouts.decode(other)


def test_a_folder_or_a_catalogue_of_cutouts_has_the_fingerprint_of_their_pixels(tmp_path: Path) -> None:
    for number in range(6):
        values, folder = sky(number), f"class_{number % 2}"
        for kind in ("fits", "png", "both"):
            (tmp_path / kind / folder).mkdir(parents=True, exist_ok=True)
        data, picture = stored(values), png(lupton(*values))
        (tmp_path / "fits" / folder / f"{number}.fits").write_bytes(data)
        (tmp_path / "png" / folder / f"{number}.png").write_bytes(picture)
        (tmp_path / "both" / folder / f"{number}.fits.gz").write_bytes(gzip.compress(data))
        (tmp_path / "both" / folder / f"{number}.jpg").write_bytes(picture)  # a preview
    reference = open_dataset(str(tmp_path / "png"), tmp_path / "cache")
    rows = [f"fits/class_{number % 2}/{number}.fits,class_{number % 2}" for number in (0, 2, 4, 1, 3, 5)]
    (tmp_path / "catalogue.csv").write_text("\n".join(["path,label", *rows]))
    for kind in ("fits", "both", "catalogue.csv"):
        dataset = open_dataset(str(tmp_path / kind), tmp_path / "cache", reading=GRZ)
        assert dataset.fingerprint == reference.fingerprint
        assert dataset.notes[-1] == NOTE
    other = Reading(fits_bands=("g", "r", "z"), fits_stretch=1)
    assert open_dataset(str(tmp_path / "fits"), tmp_path / "cache", reading=other).fingerprint != reference.fingerprint
    (tmp_path / "fits" / "class_1" / "3.fits").write_bytes(CUBE[:6000])  # not the first
    with pytest.raises(DataError, match=r"class_1/3\.fits: .*truncated"), pytest.warns(match="truncated"):
        open_dataset(str(tmp_path / "fits"), tmp_path / "cache", reading=GRZ)
    with pytest.raises(DataError, match=r"--fits-bands goes with FITS files; .*0\.png is a PNG file"):
        open_dataset(str(tmp_path / "png"), tmp_path / "cache", reading=GRZ)
