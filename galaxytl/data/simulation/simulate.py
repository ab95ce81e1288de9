"""Simulated galaxies in Galaxy10 DECaLS's format: the data that needs no download.

GalSim, the field's image simulator, gives the profiles and the seeing; `morphology.py` paints the ten classes with
`starlight.py`'s colours. What is
simulated is the whole road to a Galaxy10 image: light in g, r and z, DECam's seeing, sky noise at DECaLS's depth, field
stars and neighbours, the Legacy Survey viewer's colour stretch, and the JPEG that its cutout service sends.

    galaxy = simulate_galaxy(index=0, label=3, seed=0)  # .image (256, 256, 3) uint8, .redshift, .ra, .dec, .pxscale

An image depends on (seed, index, label) only. On the same versions of numpy, GalSim and Pillow its pixels are equal
bit for bit; across versions, rounding to 8 bits and JPEG hide differences in the last place of a float in nearly all
pixels, but not surely in all. `stored.py` draws many into the cache. Whoever changes a pixel counts up its
SIMULATOR_VERSION.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from galaxytl.data.galaxy10 import CLASS_COUNTS, IMAGE_SIDE, NUM_CLASSES, PIXEL_SCALE
from galaxytl.data.simulation import morphology
from galaxytl.data.simulation.morphology import Grid
from galaxytl.data.simulation.starlight import Array, Population, band_fluxes

MARGIN = 16
"""Pixels drawn beyond each edge: light from outside the frame, and room for the seeing's circular convolution."""
GRID = Grid(side=IMAGE_SIDE + 2 * MARGIN, scale=PIXEL_SCALE)
SEEING = (1.29, 1.18, 1.11)
"""Median full width at half maximum in g, r, z, arcsec: Dey et al. 2019, table 4 (DECaLS)."""
MOFFAT_BETA = 3.0
"""Wing slope of DECam's point-spread function (close to the 2.9 to 3.1 of Legacy Surveys PSFEx models)."""
SKY_NOISE = (0.0039, 0.0068, 0.0136)
"""Standard deviation of the sky in g, r, z, nanomaggies a pixel of 0.262 arcsec, before resampling.
Fitted to the 10 counts of noise in Galaxy10's skies; through the seeing above, a 5-sigma point source has g, r, z =
24.6, 24.1, 23.4: some 0.7 mag beyond what the survey requires, 24.0, 23.4, 22.5 (Dey et al. 2019, section 2)."""
EXPOSURE_EDGE_SHARE = 0.15
"""Share of the images that an exposure's edge crosses; visible in about one of ten of Galaxy10's."""
STRETCH = (6.0, 3.4, 2.2)
"""Factors of g, r, z in the Legacy Survey viewer's `dr2_rgb` (github.com/legacysurvey/imagine, map/views.py)."""
STRETCH_OFFSET = 0.03
STRETCH_SOFTENING = 20.0
"""m and Q of `sdss_rgb`, after Lupton et al. 2004: an empty sky comes out as 255 asinh(20 * 0.03) / sqrt(20) = 32."""
JPEG_QUALITY = 75
"""Of the viewer's cutouts (Pillow's default; Galaxy10 shows its 8-pixel blocks and halved colour grid)."""
SATURATION_PATTERNS = ((0.3, 1.0, 1.0), (1.0, 1.0, 0.3), (1.0, 0.3, 0.3), (0.4, 1.0, 0.4))
"""Share of a bright star's g, r, z flux that the coadd keeps where a band's exposures are saturated and masked: the
yellow, cyan, blue and green stars of Galaxy10."""
FOOTPRINT_DEC = (-18.0, 34.0)
"""Declinations of DECaLS, degrees (Dey et al. 2019)."""

SIZES = (3.4, 4.1, 2.3, 2.4, 2.9, 7.0, 5.3, 6.2, 13.5, 6.8)
"""Median half-light radius of each class, arcsec; fitted, like the next three, to what Galaxy10's images
show: areas above 55, 90 and 150 counts, colours of core and rim, axis ratios, 10 published images a class."""
SIZE_SCATTER = 0.12
"""Standard deviation of log10(half-light radius)."""
BRIGHTNESS_SCATTER = 0.25
"""Standard deviation of the surface brightness, mag."""
SURFACE_BRIGHTNESS = (21.6, 21.6, 21.0, 20.9, 21.1, 21.8, 21.4, 22.0, 22.9, 22.5)
"""Mean r surface brightness inside the half-light ellipse, mag / arcsec^2."""
AGES = (-0.05, 0.9, 0.45, 0.85, 0.4, 0.55, 0.65, 0.15, 0.6, 1.0)
"""Mean age of each class: 0 young and blue, 1 old and red, a starburst below 0."""
AGE_SCATTER = 0.25
PHYSICAL_SIZE = 5.5
"""Median half-light radius, kiloparsecs: a bright galaxy of the SDSS main sample (Shen et al. 2003)."""
HUBBLE_DISTANCE = 4283.0
"""c / H0 in megaparsecs, H0 = 70 km/s/Mpc."""


@dataclass(frozen=True)
class SimulatedGalaxy:
    """One image (256, 256, 3) uint8 and what Galaxy10 stores beside it."""

    image: NDArray[np.uint8]
    label: int
    redshift: float
    ra: float
    """Degrees."""
    dec: float
    """Degrees."""
    pxscale: float
    """Arcseconds a pixel."""


def class_labels(num_images: int, seed: int) -> NDArray[np.int64]:
    """Return labels (N,) in Galaxy10's proportions up to rounding, at least 3 a class from 30 images on, shuffled by
    seed."""
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1; got {num_images}")
    exact = np.array(CLASS_COUNTS) * num_images / sum(CLASS_COUNTS)
    counts = np.floor(exact).astype(np.int64)
    # Largest remainder: the counts add up to num_images and none is off by 1 or more.
    counts[np.argsort(counts - exact, kind="stable")[: num_images - counts.sum()]] += 1
    if num_images >= 3 * NUM_CLASSES:
        while counts.min() < 3:
            counts[counts.argmin()] += 1
            counts[counts.argmax()] -= 1
    labels = np.repeat(np.arange(NUM_CLASSES, dtype=np.int64), counts)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, num_images]))).permutation(labels)


def simulate_galaxy(index: int, label: int, seed: int) -> SimulatedGalaxy:
    """Return the image `index` of the simulation `seed`, of class `label` (0 to 9): a function of these three alone."""
    if not 0 <= label < NUM_CLASSES:
        raise ValueError(f"label must lie in 0 to {NUM_CLASSES - 1}; got {label}")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index, label])))
    population = draw_population(rng, label)
    light = morphology.DRAWERS[label](rng, GRID, population)
    add_field(rng, light)
    image = photograph(rng, light)
    dec = np.degrees(np.arcsin(rng.uniform(*np.sin(np.radians(FOOTPRINT_DEC)))))
    return SimulatedGalaxy(image, label, population.redshift, rng.uniform(0, 360), float(dec), PIXEL_SCALE)


def draw_population(rng: np.random.Generator, label: int) -> Population:
    """Return size, brightness, age and redshift of one galaxy of this class.

    The redshift is the one at which the apparent size matches a physical size drawn beside it; the few beyond 0.3,
    Galaxy10's end, are put there.
    """
    half_light = float(SIZES[label] * 10 ** rng.normal(0, SIZE_SCATTER))
    # Larger galaxies are redder: the colour-magnitude relation, in rough strokes.
    age = float(np.clip(rng.normal(AGES[label] + 1.2 * np.log10(half_light / SIZES[label]), AGE_SCATTER), -0.4, 1.1))
    brightness = SURFACE_BRIGHTNESS[label] + rng.normal(0, BRIGHTNESS_SCATTER)
    magnitude = float(brightness - 2.5 * np.log10(2 * np.pi * half_light**2))
    kiloparsecs = PHYSICAL_SIZE * 10 ** rng.normal(0, 0.15)
    distance = kiloparsecs / 1000 / (half_light * np.pi / 648_000)  # angular-diameter distance, megaparsecs
    # D_A = c/H0 (z - 1.2 z^2) to second order in flat LCDM with q0 = -0.55 (Weinberg 1972, ch. 14), turned round.
    nearness = distance / HUBBLE_DISTANCE
    redshift = float(np.clip(nearness + 1.2 * nearness**2, 0.003, 0.3))
    return Population(half_light, magnitude, age, redshift)


def add_field(rng: np.random.Generator, light: Array) -> None:
    """Add foreground stars and faint galaxies of the field to `light` (3, S, S), in place."""
    half = GRID.side * GRID.scale / 2
    for _ in range(rng.poisson(6)):
        add_star(rng, light)
    for _ in range(rng.poisson(28)):
        magnitude = 24.5 + np.log10(rng.uniform(0.003, 1)) / 0.4
        size = max(0.15, 0.45 * 10 ** (rng.normal(0, 0.2) - 0.1 * (magnitude - 22)))
        profile = galsim.Exponential(half_light_radius=size).shear(g=rng.uniform(0, 0.5), beta=_angle(rng))
        g_r = rng.normal(0.9, 0.4)
        colours = (g_r, rng.normal(0.75 * g_r, 0.2))
        add_stamp(light, profile, rng.uniform(-half, half, 2), band_fluxes(magnitude, colours))


def _angle(rng: np.random.Generator) -> galsim.Angle:
    return rng.uniform(0, np.pi) * galsim.radians


def add_star(rng: np.random.Generator, light: Array) -> None:
    """Add one star at a random place, in place; bright ones may lack a band, as saturated cores do in the coadds."""
    magnitude = 23.5 + np.log10(rng.uniform(0.002, 1)) / 0.35
    # Two thirds M dwarfs, one third turn-off stars: the two peaks of the halo and disk at high latitude.
    colours = (rng.normal(1.4, 0.1), rng.normal(1.3, 0.4)) if rng.uniform() < 0.6 else (rng.normal(0.5, 0.2), 0.2)
    fluxes = band_fluxes(magnitude, colours)
    if magnitude < 18.5 and rng.uniform() < 0.5:
        fluxes = fluxes * np.array(SATURATION_PATTERNS[rng.integers(4)], np.float32)
    row, column = rng.uniform(1, GRID.side - 2, 2)
    top, left = int(row), int(column)
    down, right = row - top, column - left
    corner = np.outer([1 - down, down], [1 - right, right]).astype(np.float32)
    light[:, top : top + 2, left : left + 2] += fluxes[:, None, None] * corner


def add_stamp(light: Array, profile: galsim.GSObject, centre: NDArray[np.float64], fluxes: Array) -> None:
    """Add a small GalSim profile at `centre` (arcsec) with these band fluxes to `light`, in place."""
    half = int(np.clip(5 * profile.original.half_light_radius / GRID.scale, 6, 60))  # e^-8 of an exponential's centre
    column, row = centre / GRID.scale + (GRID.side - 1) / 2
    left, top = int(np.rint(column)), int(np.rint(row))
    size = 2 * half + 1
    drawn = profile.drawImage(
        nx=size, ny=size, scale=GRID.scale, method="no_pixel", offset=(column - left, row - top)
    ).array
    target = light[:, max(top - half, 0) : top + half + 1, max(left - half, 0) : left + half + 1]
    inside = drawn[max(half - top, 0) :, max(half - left, 0) :][: target.shape[1], : target.shape[2]]
    target += inside * (fluxes / max(float(drawn.sum()), 1e-9))[:, None, None]


def photograph(rng: np.random.Generator, light: Array) -> NDArray[np.uint8]:
    """Return what the survey makes of `light` (3, S, S) nanomaggies a pixel: seeing, noise, stretch, JPEG."""
    blurred = convolve(light, seeing_kernels(rng))
    seen = blurred[:, MARGIN:-MARGIN, MARGIN:-MARGIN] + sky_noise(rng)
    return through_jpeg(stretch(seen))


def seeing_kernels(rng: np.random.Generator) -> Array:
    """Return point-spread functions (3, S, S) of g, r, z for one pointing, each adding up to 1, centred on pixel (0,
    0)."""
    kernels = np.zeros((3, GRID.side, GRID.side), np.float32)
    for kernel, median in zip(kernels, SEEING, strict=True):
        profile = galsim.Moffat(beta=MOFFAT_BETA, fwhm=median * 10 ** rng.normal(0, 0.04), trunc=8.0)
        stamp = profile.drawImage(nx=2 * MARGIN + 31, ny=2 * MARGIN + 31, scale=GRID.scale, method="no_pixel").array
        kernel[: stamp.shape[0], : stamp.shape[1]] = stamp / stamp.sum()
    half = (2 * MARGIN + 31) // 2
    return np.roll(kernels, (-half, -half), axis=(1, 2))


def convolve(light: Array, kernels: Array) -> Array:
    """Return circular convolution of each band of `light` (3, S, S) with its kernel (3, S, S)."""
    spectrum = np.fft.rfft2(light) * np.fft.rfft2(kernels)
    return np.fft.irfft2(spectrum, s=light.shape[1:]).astype(np.float32)


def sky_noise(rng: np.random.Generator) -> Array:
    """Return sky noise (3, 256, 256), nanomaggies: depth differs between pointings; neighbours correlate by
    resampling."""
    white = rng.standard_normal((3, IMAGE_SIDE + 1, IMAGE_SIDE + 1), np.float32)
    # A half-pixel bilinear shift is the strongest correlation that resampling single exposures to the coadd leaves.
    weight = np.float32(rng.uniform(0.15, 0.4))
    smooth = (1 - weight) * white[:, 1:] + weight * white[:, :-1]
    smooth = (1 - weight) * smooth[:, :, 1:] + weight * smooth[:, :, :-1]
    depth = (np.array(SKY_NOISE) * 10 ** rng.normal(0, 0.08, 3)).astype(np.float32)
    noise = smooth * depth[:, None, None]
    if rng.uniform() < EXPOSURE_EDGE_SHARE:
        # Beyond the edge of one exposure the coadd is shallower in one band.
        noise[rng.integers(3), :, int(rng.integers(IMAGE_SIDE)) :] *= np.float32(rng.uniform(1.3, 1.8))
    return noise.astype(np.float32, copy=False)


def stretch(bands: Array) -> Array:
    """Return the viewer's asinh colours: (3, H, W) nanomaggies a pixel in g, r, z to (H, W, 3) in 0 to 1, R = z, B =
    g."""
    scaled = bands * np.array(STRETCH, np.float32)[:, None, None] + np.float32(STRETCH_OFFSET)
    mean = np.maximum(scaled, 0).mean(axis=0)
    factor = np.arcsinh(STRETCH_SOFTENING * mean) / np.sqrt(STRETCH_SOFTENING) / np.maximum(mean, 1e-6)
    return np.clip(scaled * factor, 0, 1)[::-1].transpose(1, 2, 0).astype(np.float32)


def through_jpeg(colours: Array) -> NDArray[np.uint8]:
    """Return (H, W, 3) in 0 to 1 as uint8, as a JPEG decodes it: its coarser colour grid makes the noise mostly
    grey."""
    buffer = io.BytesIO()
    Image.fromarray((colours * 255).astype(np.uint8)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(buffer, formats=("JPEG",)))
