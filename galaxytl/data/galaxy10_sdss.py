"""Galaxy10 SDSS: astroNN's earlier dataset, whose ten classes are others than those of Galaxy10 DECaLS.

21,785 colour images (69 x 69 pixels, uint8) of the Sloan Digital Sky Survey, labels from Galaxy Zoo 2. Source:
https://astronn.readthedocs.io (Galaxy10 SDSS). The numbers of images a class which that page gives add up to 21,830, so
none are held against a file here.
"""

from __future__ import annotations

CLASS_NAMES = (
    "Disk, Face-on, No Spiral",
    "Smooth, Completely round",
    "Smooth, in-between round",
    "Smooth, Cigar shaped",
    "Disk, Edge-on, Rounded Bulge",
    "Disk, Edge-on, Boxy Bulge",
    "Disk, Edge-on, No Bulge",
    "Disk, Face-on, Tight Spiral",
    "Disk, Face-on, Medium Spiral",
    "Disk, Face-on, Loose Spiral",
)
"""Index = label."""

NUM_IMAGES = 21_785
IMAGE_SIDE = 69
"""Pixels."""
NAME = "galaxy10_sdss"
"""Of the dataset, in rows and reports."""
