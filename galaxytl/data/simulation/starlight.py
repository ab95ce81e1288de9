"""Starlight in the bands g, r, z: colours of young and old stars, fluxes, dust.

Magnitudes are AB, fluxes nanomaggies (1 nanomaggy = 22.5 mag).

    band_fluxes(17.0, colour(age=1.0, redshift=0.05))  # an elliptical of r = 17: (3,) in g, r, z
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

ZERO_POINT = 22.5
"""Magnitude of one nanomaggy (SDSS and Legacy Surveys convention)."""
EXTINCTION = np.array([3.214, 2.165, 1.211], np.float32)
"""A / E(B-V) in DECam g, r, z: legacysurvey.org/dr9/catalogs (Schlafly & Finkbeiner 2011 on DECam's filters)."""
OLD = (0.76, 0.62)
"""Rest-frame (g - r, r - z) of an old, red population: the red sequence (Blanton & Moustakas 2009, fig. 3)."""
YOUNG = (0.38, 0.24)
"""Rest-frame (g - r, r - z) of a star-forming disk: the blue cloud of the same figure."""
KNOT = (0.05, -0.15)
"""(g - r, r - z) of a young star cluster with its nebula: bluer than any whole galaxy."""
REDDENING_WITH_REDSHIFT = (1.6, 0.5)
"""Magnitudes of (g - r, r - z) a unit redshift: slope of the K-corrections of Chilingarian et al. 2010 below z = 0.2,
halfway between early and late types."""


@dataclass(frozen=True)
class Population:
    """What a galaxy looks like from afar: size and brightness before any structure."""

    half_light: float
    """Half-light radius along the major axis, arcsec."""
    magnitude: float
    """Total r magnitude, AB."""
    age: float
    """0 = young and blue, 1 = old and red; a starburst lies below 0."""
    redshift: float


def colour(age: float, redshift: float) -> tuple[float, float]:
    """Return observed (g - r, r - z) of a stellar population of this age (0 young, 1 old) at this redshift."""
    pairs = zip(YOUNG, OLD, REDDENING_WITH_REDSHIFT, strict=True)
    g_r, r_z = (young + age * (old - young) + slope * redshift for young, old, slope in pairs)
    return g_r, r_z


def band_fluxes(magnitude: float, colours: tuple[float, float]) -> Array:
    """Return fluxes (3,) in g, r, z, nanomaggies, of an r magnitude and its (g - r, r - z)."""
    magnitudes = np.array([magnitude + colours[0], magnitude, magnitude - colours[1]])
    return (10 ** (-0.4 * (magnitudes - ZERO_POINT))).astype(np.float32)


def tinted(shape: Array, fluxes: Array) -> Array:
    """Return light (3, S, S) that adds up to `fluxes` (3,), spread like the non-negative `shape` (S, S)."""
    return shape[None] * (fluxes / max(float(shape.sum()), 1e-9))[:, None, None]


def transmission(reddening: Array) -> Array:
    """Return the share of the light (3, S, S) that dust of this E(B-V) (S, S), in magnitudes, lets through in each
    band."""
    return np.exp(-0.4 * np.log(10) * EXTINCTION[:, None, None] * reddening[None]).astype(np.float32)
