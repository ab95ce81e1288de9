"""Ten kinds of galaxy, painted as light in the g, r and z bands before the atmosphere and the detector touch it.

Smooth light comes from GalSim's Sersic profiles; what no analytic profile holds (spiral arms, bars, dust lanes, tidal
tails) is painted on the same grid in the galaxy's own plane. Every drawing function takes a random generator and a
`Grid` and gives light of shape (3, S, S): bands in the order g, r, z, nanomaggies a pixel (1 nanomaggy = 22.5 mag AB).
Lengths are arcseconds, angles radians, brightness r-band magnitudes. Ranges without a source, drawn from inline, are
dimensionless shares and ratios (of the light, of the half-light radius) chosen by eye beside Galaxy10's images.

    light = draw_galaxy(rng, Grid(side=288, scale=0.262), label=7, redshift=0.05)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import galsim
import numpy as np
from numpy.typing import NDArray

from galaxytl.data.simulation.starlight import KNOT, Array, Population, band_fluxes, colour, tinted, transmission


@dataclass(frozen=True)
class Grid:
    """A square of `side` pixels of `scale` arcseconds, the origin at its centre."""

    side: int
    scale: float

    @cached_property
    def x(self) -> Array:
        """Arcseconds to the right, shape (side, side)."""
        axis = (np.arange(self.side, dtype=np.float32) - (self.side - 1) / 2) * self.scale
        return np.broadcast_to(axis, (self.side, self.side))

    @property
    def y(self) -> Array:
        """Arcseconds upwards, shape (side, side)."""
        return self.x.T


@dataclass(frozen=True)
class Plane:
    """A galaxy's disk as the sky shows it: centre (arcsec), axis ratio, position angle (rad)."""

    grid: Grid
    axis_ratio: float
    angle: float
    centre: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def along(self) -> Array:
        """Arcseconds along the major axis."""
        x, y = self.grid.x - np.float32(self.centre[0]), self.grid.y - np.float32(self.centre[1])
        return x * np.float32(np.cos(self.angle)) + y * np.float32(np.sin(self.angle))

    @cached_property
    def across(self) -> Array:
        """Arcseconds along the minor axis on the sky."""
        x, y = self.grid.x - np.float32(self.centre[0]), self.grid.y - np.float32(self.centre[1])
        return y * np.float32(np.cos(self.angle)) - x * np.float32(np.sin(self.angle))

    @cached_property
    def radius(self) -> Array:
        """Arcseconds from the centre in the disk's own plane."""
        return np.hypot(self.along, self.across / np.float32(self.axis_ratio)) + np.float32(1e-3)

    @cached_property
    def azimuth(self) -> Array:
        """Radians from the major axis in the disk's own plane."""
        return np.arctan2(self.across / np.float32(self.axis_ratio), self.along)


def sersic(plane: Plane, index: float, half_light: float) -> Array:
    """Return GalSim's Sersic profile in this plane, shape (S, S), relative units.

    Drawn in real space at pixel centres ("no_pixel"): the pixel is a fifth of the seeing, and its Fourier route
    takes 100 times longer. The axis ratio keeps the major axis at `half_light`.
    """
    profile = galsim.Sersic(n=float(index), half_light_radius=half_light)
    flat = profile.transform(1.0, 0.0, 0.0, plane.axis_ratio).rotate(plane.angle * galsim.radians)
    image = galsim.ImageF(plane.grid.side, plane.grid.side)
    flat.shift(*plane.centre).drawImage(image, scale=plane.grid.scale, method="no_pixel")
    return np.asarray(image.array, np.float32)


def step(x: Array) -> Array:
    """Return a smooth step from 0 to 1 around x = 0, elementwise."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x), np.float32)


def clumps(rng: np.random.Generator, grid: Grid, length: float) -> Array:
    """Return a Gaussian random field of unit variance and correlation length `length` (arcsec), shape (S, S)."""
    frequency = np.fft.fftfreq(grid.side, grid.scale)[:, None] ** 2 + np.fft.rfftfreq(grid.side, grid.scale) ** 2
    damping = np.exp(-2 * (np.pi * length) ** 2 * frequency).astype(np.float32)
    white = rng.standard_normal((grid.side, grid.side), np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * damping, s=white.shape)
    return (field / (field.std() + 1e-9)).astype(np.float32)


Drawer = Callable[[np.random.Generator, Grid, Population], Array]
"""Draws one galaxy of its class, light (3, S, S)."""


@dataclass(frozen=True)
class Arms:
    """Logarithmic spiral arms."""

    number: int
    pitch: float
    """Radians; 0.15 is tightly wound, 0.5 wide open (Savchenko et al. 2020 find 5 to 35 degrees)."""
    contrast: float
    """0 = no arms, 1 = nothing between them."""
    sharpness: float
    """Concentration of the von Mises ridge; 1 is broad, 6 thin."""


def arm_ridges(rng: np.random.Generator, plane: Plane, arms: Arms, start: float, phase: float | None = None) -> Array:
    """Return the arms' ridge pattern (S, S) in 0 to 1, beginning outside `start` arcsec; ragged, as real arms are."""
    phase = rng.uniform(0, 2 * np.pi) if phase is None else phase
    winding = np.log(plane.radius / np.float32(start)) / np.float32(np.tan(arms.pitch))
    ragged = clumps(rng, plane.grid, 2.5) * np.float32(rng.uniform(0.2, 0.7))
    angle = arms.number * (plane.azimuth - winding - np.float32(phase)) + ragged
    lopsided = 1 + np.float32(rng.uniform(0, 0.4)) * np.cos(plane.azimuth - np.float32(rng.uniform(0, 2 * np.pi)))
    ridge = np.exp(np.float32(arms.sharpness) * (np.cos(angle) - 1)) * lopsided
    return ridge * step((plane.radius - np.float32(start)) / np.float32(0.25 * start))


def knots(rng: np.random.Generator, where: Array, number: int) -> Array:
    """Return `number` point-like star-forming regions, shape (S, S), placed with probability `where`; sums to 1."""
    cumulative = np.cumsum(where.ravel(), dtype=np.float64)
    places = np.searchsorted(cumulative, rng.uniform(0, cumulative[-1], number))
    # Luminosity function of H II regions, dN/dL ~ L^-2 (Kennicutt, Edgar & Hodge 1989), cut at a decade and a half.
    luminosity = 1 / rng.uniform(1 / 30, 1, number)
    light = np.bincount(np.minimum(places, where.size - 1), luminosity, where.size).astype(np.float32)
    return light.reshape(where.shape) / np.float32(luminosity.sum())


def disk_galaxy(rng: np.random.Generator, plane: Plane, population: Population, arms: Arms, bar: float) -> Array:
    """Return a disk with arms, knots, a red bulge and, where `bar` (its share of the light) is above 0, a bar.

    plane, population: what and where; light (3, S, S).
    """
    scale_length = population.half_light / 1.678  # of an exponential disk
    bar_length = population.half_light * rng.uniform(0.6, 0.95)
    bar_angle = rng.uniform(0, np.pi)
    start = bar_length if bar > 0 else rng.uniform(0.4, 0.9) * scale_length
    smooth = np.exp(-plane.radius / np.float32(scale_length))
    ridges = arm_ridges(rng, plane, arms, start, bar_angle if bar > 0 else None)
    if bar > 0:
        ridges = ridges + np.float32(rng.uniform(0, 0.9)) * ring(plane, bar_length)
    young = smooth * ridges * np.exp(np.float32(0.3) * clumps(rng, plane.grid, 0.7))
    bulge_share = rng.uniform(0.03, 0.10) + 0.2 * max(population.age, 0) * rng.uniform(0.2, 1)
    arm_share = arms.contrast * (1 - bulge_share - bar)
    knot_share = 0.06 * arms.contrast * max(1 - population.age, 0) * rng.uniform(0.2, 1.5)
    old_share = 1 - bulge_share - bar - arm_share - knot_share
    parts = [
        (smooth, old_share, colour(0.3 + 0.65 * population.age, population.redshift)),
        (young, arm_share, colour(0.75 * population.age - 0.1, population.redshift)),
        (knots(rng, young * smooth, 50), knot_share, KNOT),
        (
            bulge_shape(rng, plane, population, barred=bar > 0),
            bulge_share,
            colour(min(0.65 + 0.6 * population.age, 1.1), population.redshift),
        ),
    ]
    if bar > 0:
        bar_colour = colour(0.55 + 0.5 * population.age, population.redshift)
        parts.append((bar_shape(rng, plane, bar_length, bar_angle), bar, bar_colour))
    light = sum(tinted(shape, share * band_fluxes(population.magnitude, tint)) for shape, share, tint in parts)
    return np.asarray(light, np.float32) * inner_dust(rng, plane, scale_length)


def inner_dust(rng: np.random.Generator, plane: Plane, scale_length: float) -> Array:
    """Return transmission (3, S, S) of a disk's dust, densest in the centre, where it reddens the light."""
    depth = rng.uniform(0.0, 0.22)  # E(B-V) at the centre, magnitudes
    dust = depth * np.exp(-plane.radius / np.float32(1.3 * scale_length))
    return transmission(dust)


def bulge_shape(rng: np.random.Generator, plane: Plane, population: Population, barred: bool) -> Array:
    """Return a small, rounder Sersic bulge at the disk's centre, shape (S, S)."""
    roundness = 0.5 + 0.5 * plane.axis_ratio if barred else max(plane.axis_ratio, 0.7)
    size = population.half_light * rng.uniform(0.1, 0.22)
    return sersic(Plane(plane.grid, roundness, plane.angle, plane.centre), rng.uniform(0.8, 2.0), size)


def ring(plane: Plane, radius: float) -> Array:
    """Return an inner ring at `radius` arcsec in the disk's plane, shape (S, S), peak 1."""
    return np.exp(-0.5 * ((plane.radius - radius) / (0.16 * radius)) ** 2).astype(np.float32)


def bar_shape(rng: np.random.Generator, plane: Plane, length: float, angle: float) -> Array:
    """Return a boxy bar of half-length `length` (arcsec) at `angle` in the disk's plane, Ferrers-like, shape (S, S)."""
    u, v = plane.radius * np.cos(plane.azimuth - angle), plane.radius * np.sin(plane.azimuth - angle)
    width = rng.uniform(0.2, 0.34) * length
    distance = (np.abs(u / length) ** 2.5 + np.abs(v / width) ** 2.5) ** np.float32(0.4)
    return np.exp(-(distance**1.6) * np.float32(1.8)).astype(np.float32)


def smooth_galaxy(rng: np.random.Generator, plane: Plane, population: Population) -> Array:
    """Return a smooth ellipsoid of one Sersic index (older ones more concentrated) with a mild colour gradient."""
    index = np.clip(rng.normal(1.1 + 1.2 * population.age, 0.4), 0.7, 3.5)
    z, age = population.redshift, population.age
    halo = sersic(plane, index, population.half_light)
    core = sersic(plane, index, 0.5 * population.half_light)
    share = rng.uniform(0.1, 0.4)
    light = tinted(halo, (1 - share) * band_fluxes(population.magnitude, colour(age - 0.1, z)))
    return light + tinted(core, share * band_fluxes(population.magnitude, colour(age + 0.3, z)))


def edge_on_galaxy(rng: np.random.Generator, plane: Plane, population: Population, bulge_share: float) -> Array:
    """Return a disk from the side: exponential along, sech^2 across (van der Kruit & Searle 1981), dust in its
    midplane."""
    length = population.half_light / 1.678
    height = length * rng.uniform(0.12, 0.27)
    warp = np.float32(rng.normal(0, 0.02) / length) * plane.along**2 / (1 + np.abs(plane.along) / np.float32(length))
    across, along = plane.across - warp, np.abs(plane.along)
    taper = step((np.float32(3.2 * length) - along) / np.float32(0.4 * length))
    clumpy = np.exp(np.float32(rng.uniform(0.1, 0.35)) * clumps(rng, plane.grid, 0.8))
    thick = np.exp(-along / np.float32(length)) / np.cosh(np.clip(across / height, -40, 40)) ** 2 * taper
    outer = thick * clumpy * (along / np.float32(length))
    z, age = population.redshift, population.age
    light = tinted(thick, 0.75 * (1 - bulge_share) * band_fluxes(population.magnitude, colour(age + 0.2, z)))
    light += tinted(outer, 0.25 * (1 - bulge_share) * band_fluxes(population.magnitude, colour(age - 0.6, z)))
    if bulge_share > 0:
        bulge_plane = Plane(plane.grid, rng.uniform(0.55, 0.9), plane.angle)
        bulge = sersic(bulge_plane, rng.uniform(1.0, 2.2), population.half_light * rng.uniform(0.18, 0.38))
        light += tinted(bulge, bulge_share * band_fluxes(population.magnitude, colour(0.7 + 0.4 * age, z)))
    depth = rng.uniform(0.1, 0.65)  # E(B-V) through the midplane, magnitudes
    lane = np.exp(-0.5 * ((across - rng.normal(0, 0.3) * height) / (0.5 * height)) ** 2 - along / (1.6 * length))
    return light * transmission(depth * lane * clumpy)


def tail(rng: np.random.Generator, grid: Grid, path: NDArray[np.float64], width: float) -> Array:
    """Return a tidal tail (S, S) along a quadratic Bezier `path` (3, 2) in arcsec, widening outwards; sums to about 1.

    Made of 20,000 particles so that it frays like one.
    """
    number = 20_000
    t = rng.beta(1.0, 1.6, number)[:, None]
    points = (1 - t) ** 2 * path[0] + 2 * t * (1 - t) * path[1] + t**2 * path[2]
    points = points + rng.standard_normal((number, 2)) * width * (0.4 + t)
    pixels = np.rint(points / grid.scale + (grid.side - 1) / 2).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < grid.side)).all(axis=1)
    flat = pixels[inside, 1] * grid.side + pixels[inside, 0]
    return (np.bincount(flat, minlength=grid.side**2) / number).astype(np.float32).reshape(grid.side, grid.side)


def random_tail(rng: np.random.Generator, grid: Grid, start: tuple[float, float], reach: float) -> Array:
    """Return a tail from `start` outwards for about `reach` arcsec, bending to one side."""
    direction = rng.uniform(0, 2 * np.pi)
    bend = direction + rng.choice([-1, 1]) * rng.uniform(0.4, 1.3)
    middle = np.array(start) + 0.6 * reach * np.array([np.cos(direction), np.sin(direction)])
    end = middle + 0.7 * reach * np.array([np.cos(bend), np.sin(bend)])
    return tail(rng, grid, np.stack([np.array(start), middle, end]), reach * rng.uniform(0.07, 0.2))


def bent(rng: np.random.Generator, light: Array, strength: float, length: float) -> Array:
    """Return the same light (3, S, S) seen through a smooth random displacement.

    strength: its standard deviation, length: its correlation length, both in pixels. Nearest pixels are taken: the
    seeing blurs the steps away.
    """
    side = light.shape[-1]
    grid = Grid(side, 1.0)
    rows, columns = np.mgrid[:side, :side]
    rows = np.clip(np.rint(rows + strength * clumps(rng, grid, length)), 0, side - 1).astype(np.int64)
    columns = np.clip(np.rint(columns + strength * clumps(rng, grid, length)), 0, side - 1).astype(np.int64)
    return light[:, rows, columns]


def disturbed_galaxy(rng: np.random.Generator, grid: Grid, population: Population) -> Array:
    """Return one galaxy pulled out of shape: bent, lopsided, with a tail or plume and off-centre star formation."""
    plane = Plane(grid, rng.uniform(0.4, 0.95), rng.uniform(0, np.pi))
    arms = Arms(int(rng.integers(1, 3)), rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.6), rng.uniform(0.8, 2.5))
    light = disk_galaxy(rng, plane, population, arms, bar=0.0)
    if rng.uniform() < 0.45:
        light = 0.4 * light + 0.6 * smooth_galaxy(rng, plane, population)
    pixels = population.half_light / grid.scale
    light = bent(rng, light, rng.uniform(0.2, 0.5) * pixels, rng.uniform(1.2, 2.2) * pixels)
    size = population.half_light
    for _ in range(int(rng.integers(1, 4))):
        start = (rng.normal(0, 0.3 * size), rng.normal(0, 0.3 * size))
        share = rng.uniform(0.03, 0.12) * band_fluxes(population.magnitude, colour(population.age, population.redshift))
        light += tinted(random_tail(rng, grid, start, size * rng.uniform(1.5, 6)), share)
    return light


def merging_galaxies(rng: np.random.Generator, grid: Grid, population: Population) -> Array:
    """Return two galaxies of similar redshift within a few radii of each other, with tails, a bridge and a common
    halo."""
    separation = population.half_light * rng.uniform(0.8, 3.0)
    direction = rng.uniform(0, 2 * np.pi)
    offset = (separation * np.cos(direction), separation * np.sin(direction))
    ratio = rng.uniform(0.0, 1.6)  # magnitudes between the two: major to minor merger
    size, age, z = population.half_light, population.age, population.redshift
    second = Population(
        size * 10 ** (-0.15 * ratio), population.magnitude + ratio, np.clip(age + rng.normal(0, 0.25), 0, 1.1), z
    )
    light = companion(rng, grid, population, (0.0, 0.0)) + companion(rng, grid, second, offset)
    pixels = size / grid.scale
    light = bent(rng, light, rng.uniform(0.1, 0.35) * pixels, rng.uniform(1.0, 1.8) * pixels)
    fluxes = band_fluxes(population.magnitude, colour(age, z))
    for start in ((0.0, 0.0), offset):
        share = rng.uniform(0.02, 0.13) * fluxes
        light += tinted(random_tail(rng, grid, start, size * rng.uniform(1.5, 4)), share)
    curve = np.array([[0, 0], np.array(offset) / 2 + rng.normal(0, 0.3 * size, 2), offset])
    light += tinted(tail(rng, grid, curve, 0.3 * size), rng.uniform(0.02, 0.1) * fluxes)
    halo = Plane(grid, rng.uniform(0.6, 1), direction, (offset[0] / 2, offset[1] / 2))
    return light + tinted(sersic(halo, 1.0, separation * 1.2 + size), rng.uniform(0.1, 0.5) * fluxes)


def companion(rng: np.random.Generator, grid: Grid, population: Population, centre: tuple[float, float]) -> Array:
    """Return one partner of a merger at `centre` (arcsec): a smooth one or a disk, as a coin falls."""
    plane = Plane(grid, rng.uniform(0.4, 1.0), rng.uniform(0, np.pi), centre)
    if rng.uniform() < 0.5:
        return smooth_galaxy(rng, plane, population)
    arms = Arms(2, rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.6), rng.uniform(1, 3))
    centred = Plane(grid, plane.axis_ratio, plane.angle)
    shift = np.rint(np.array(centre) / grid.scale).astype(int)
    return np.roll(disk_galaxy(rng, centred, population, arms, 0.0), (shift[1], shift[0]), (1, 2))


def smooth_between(low: float, high: float) -> Drawer:
    """Return a drawer of smooth galaxies with axis ratios in this range."""
    return lambda rng, grid, population: smooth_galaxy(
        rng, Plane(grid, rng.uniform(low, high), rng.uniform(0, np.pi)), population
    )


def spiral(
    tilt: float, number: tuple[int, int], pitch: tuple[float, float], contrast: tuple[float, float], bar: float = 0.0
) -> Drawer:
    """Return a drawer of spirals.

    tilt: smallest axis ratio; number, pitch, contrast: (low, high) of `Arms`; bar: its mean share of the light.
    """

    def draw(rng: np.random.Generator, grid: Grid, population: Population) -> Array:
        plane = Plane(grid, rng.uniform(tilt, 1.0), rng.uniform(0, np.pi))
        arms = Arms(
            int(rng.integers(number[0], number[1] + 1)),
            rng.uniform(*pitch),
            rng.uniform(*contrast),
            rng.uniform(0.8, 2.5),
        )
        return disk_galaxy(rng, plane, population, arms, bar * rng.uniform(0.6, 1.4))

    return draw


def edge_on(bulge: tuple[float, float]) -> Drawer:
    """Return a drawer of edge-on disks whose bulge's share of the light lies in this (low, high) range."""
    return lambda rng, grid, population: edge_on_galaxy(
        rng, Plane(grid, 1.0, rng.uniform(0, np.pi)), population, rng.uniform(*bulge)
    )


DRAWERS: tuple[Drawer, ...] = (
    disturbed_galaxy,
    merging_galaxies,
    smooth_between(0.85, 1.0),
    smooth_between(0.45, 0.75),
    smooth_between(0.22, 0.42),
    spiral(0.5, (2, 2), (0.2, 0.5), (0.2, 0.5), bar=0.2),
    spiral(0.5, (2, 4), (0.13, 0.26), (0.12, 0.4)),
    spiral(0.3, (2, 3), (0.30, 0.62), (0.25, 0.6)),
    edge_on((0.0, 0.0)),
    edge_on((0.15, 0.45)),
)
"""Index = Galaxy10 label."""
