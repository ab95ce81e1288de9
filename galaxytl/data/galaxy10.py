"""Galaxy10 DECaLS: what the published dataset is.

17,736 colour images (g, r, z of the DESI Legacy Imaging Surveys as R, G, B = z, r, g; 256 x 256 pixels, uint8) in ten
morphological classes, from Galaxy Zoo volunteers' votes. Source: https://astronn.readthedocs.io (Galaxy10 DECaLS);
file: Zenodo record 10845026.
"""

from __future__ import annotations

CLASS_NAMES = (
    "Disturbed",
    "Merging",
    "Round Smooth",
    "In-between Round Smooth",
    "Cigar Round Smooth",
    "Barred Spiral",
    "Unbarred Tight Spiral",
    "Unbarred Loose Spiral",
    "Edge-on without Bulge",
    "Edge-on with Bulge",
)
"""Index = label. The published names, without the word "Galaxies"."""

CLASS_COUNTS = (1081, 1853, 2645, 2027, 334, 2043, 1829, 2628, 1423, 1873)
"""Images of each class in the published file; they add up to 17,736."""

NUM_CLASSES = len(CLASS_NAMES)
IMAGE_SIDE = 256
"""Pixels."""
PIXEL_SCALE = 0.262
"""Arcseconds a pixel."""

FILE_NAME = "Galaxy10_DECals.h5"
FILE_URL = f"https://zenodo.org/records/10845026/files/{FILE_NAME}"
FILE_SHA256 = "19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571"
"""As astroNN's documentation and loader give it."""
HUB_DATASET = "matthieulel/galaxy10_decals"
"""The same images on Hugging Face, as Parquet."""
