"""A page of examples: the images of which the network is most and least certain, and where it looks.

rows = examples(summary, most=24)
write_sheet(Path("sheet.png"), [Example(pixels, heat, "Merging Galaxies", 0.97, "a.jpg"), ...], title)
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from galaxytl.classify.result import Summary
from galaxytl.system.files import write_atomically
from galaxytl.system.foreign_text import visible

MOST: Final = 24
"""Examples on a sheet."""
TILE, GAP, CAPTION, HEADER = 150, 12, 52, 64
"""Pixels: a side of an image, between examples, of text below one, and of text above all."""
COLUMNS: Final = 4
PAPER, INK, FAINT = (255, 255, 255), (31, 35, 40), (101, 109, 118)
HOT: Final = (255, 60, 0)
OPAQUE: Final = 0.65
"""Of the colour where the heat is largest."""


@dataclass(frozen=True)
class Example:
    pixels: NDArray[np.uint8]
    """(S, S, 3)."""
    heat: NDArray[np.float32]
    """(h, w) from 0 to 1: what speaks for the class."""
    class_name: str
    probability: float
    name: str
    """Of the image."""


def examples(summary: Summary, most: int = MOST) -> list[int]:
    """Return places in the summary of at most so many images: of each class that was given, from the most frequent on,
    as many of which the network is most certain as of which it is least."""
    classes = [number for number, _ in summary.counts.most_common(most // 2)]
    each = max(1, most // (2 * len(classes)))
    found: list[int] = []
    for number in sorted(classes):
        places = np.flatnonzero(summary.classes == number)
        order = places[np.argsort(-summary.probabilities[places], kind="stable")]
        chosen = [*order[:each], *order[max(each, len(order) - each) :]]
        found += [int(place) for place in chosen]
    return found


def write_sheet(path: Path, shown: Sequence[Example], title: str) -> None:
    """Write a PNG with each image beside itself under its heat."""
    rows = -(-len(shown) // COLUMNS)
    width, height = 2 * TILE + GAP, TILE + CAPTION + GAP
    sheet = Image.new("RGB", (COLUMNS * width + GAP, HEADER + rows * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    right = sheet.width - GAP
    _write(draw, (GAP, 10), title, 18, right)
    legend = "Right of each image: in red what speaks for its class (Grad-CAM, Selvaraju et al. 2017). p: probability"
    _write(draw, (GAP, 36), legend, 14, right, FAINT)
    for number, example in enumerate(shown):
        left, top = GAP + number % COLUMNS * width, HEADER + number // COLUMNS * height
        picture = Image.fromarray(example.pixels).resize((TILE, TILE), Image.Resampling.BILINEAR)
        sheet.paste(picture, (left, top))
        sheet.paste(_heated(picture, example.heat), (left + TILE, top))
        _write(draw, (left, top + TILE + 4), f"p {example.probability:.3f}  {example.class_name}", 15, left + 2 * TILE)
        _write(draw, (left, top + TILE + 25), example.name, 12, left + 2 * TILE, FAINT)
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    write_atomically(path, content.getvalue())


def _heated(picture: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """Return a picture in grey, with its heat in red over it."""
    mask = Image.fromarray((heat * OPAQUE * 255).astype(np.uint8)).resize(picture.size, Image.Resampling.BICUBIC)
    grey = picture.convert("L").convert("RGB")
    return Image.composite(Image.new("RGB", picture.size, HOT), grey, mask)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, right: int, ink: tuple[int, int, int] = INK
) -> None:
    """Write a line that ends before `right`: a longer one loses its middle."""
    font = ImageFont.load_default(size)
    shown = text = visible(text)
    while font.getlength(shown) > right - place[0] and len(text) > 3:
        text = text[: len(text) // 2 - 1] + text[len(text) // 2 + 1 :]
        shown = f"{text[: len(text) // 2]}…{text[len(text) // 2 :]}"
    draw.text(place, shown, ink, font)
