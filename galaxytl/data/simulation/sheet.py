"""Contact sheets: a few galaxies of each class, one column a class, so that an eye can compare data sources.

sources = {"Galaxy10 DECaLS": first_of_each(source, 3), "simulated": first_of_each(other, 3)}
write_sheet(Path("galaxies.png"), sources, source.classes.names)
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from galaxytl.data.files import containers
from galaxytl.system.foreign_text import visible

TILE = 152
"""Pixels a galaxy: ten columns, a label column and gaps make a sheet of 1,600 pixels."""
GAP = 3
"""Pixels between galaxies."""
BAND = 10
"""Pixels between sources."""
HEADER = 52
"""Pixels above the first row: two or three lines of a class's name."""
SIDE = 34
"""Pixels left of the first column: the source's name, turned."""
COARSE = 8
"""Brightness levels written as one, of 256."""
PAPER, INK = (255, 255, 255), (31, 35, 40)
"""Background and text, RGB."""

LONGEST: Final = 17
"""Letters of a line of a class's name."""
PER_CLASS: Final = 3
"""Galaxies of a class."""

Source = tuple[Sequence[NDArray[np.uint8]], NDArray[np.integer]]
"""Images (H, W, 3), n of any size, and their labels (n,)."""


def first_of_each(source: containers.Source, per_class: int = PER_CLASS) -> Source:
    """Return the first images of each class; reads as far as the last of these."""
    labels = source.labels
    rows = np.sort(np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in np.unique(labels)]))
    wanted, images, start = set(rows.tolist()), [], 0
    with contextlib.closing(source.batches()) as batches:
        while start <= rows[-1]:
            batch = next(batches)
            images += [image for row, image in enumerate(batch, start) if row in wanted]
            start += len(batch)
    return images, labels[rows]


def write_sheet(path: Path, sources: Mapping[str, Source], names: Sequence[str], per_class: int = PER_CLASS) -> None:
    """Write the first `per_class` galaxies of each class and source to a PNG at `path`, sources below each other.

    A class of which a source has fewer leaves empty tiles.
    """
    if not sources:
        raise ValueError("sources must name at least one (images, labels) pair; got none")
    height = HEADER + len(sources) * (per_class * (TILE + GAP) + BAND) - BAND
    sheet = Image.new("RGB", (SIDE + len(names) * (TILE + GAP) + GAP, height), PAPER)
    write_class_names(sheet, names)
    top = HEADER
    for name, source in sources.items():
        bottom = paste_source(sheet, source, per_class, top)
        write_source_name(sheet, name, (top + bottom) // 2)
        top = bottom + BAND
    path.parent.mkdir(parents=True, exist_ok=True)
    # The sky's noise does not compress: without its last bits the file has half the size and the eye sees no change.
    sheet.point(([level // COARSE * COARSE for level in range(255)] + [255]) * 3).save(path, optimize=True)


def column_left(label: int) -> int:
    """Return the left edge, in pixels, of this class's column."""
    return SIDE + label * (TILE + GAP)


def paste_source(sheet: Image.Image, source: Source, per_class: int, top: int) -> int:
    """Paste `per_class` rows of one source from `top` on; returns the pixel row below them."""
    images, labels = source
    if len(images) != len(labels):
        raise ValueError(f"images and labels must have one length; got {len(images)} and {len(labels)}")
    for label in np.unique(labels).tolist():
        for row, index in enumerate(np.flatnonzero(np.asarray(labels) == label)[:per_class]):
            tile = Image.fromarray(np.ascontiguousarray(images[index])).resize((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (column_left(label), top + row * (TILE + GAP)))
    return top + per_class * (TILE + GAP)


def write_class_names(sheet: Image.Image, names: Sequence[str]) -> None:
    """Write each class's name above its column, one or two words a line."""
    draw = ImageDraw.Draw(sheet)
    for label, name in enumerate(names):
        place = (column_left(label) + TILE // 2, HEADER // 2)
        draw.multiline_text(place, broken(visible(name)), INK, ImageFont.load_default(17), "mm", 2, "center")


def broken(name: str) -> str:
    """Return the name in two lines at most, broken at the space nearest to its middle; what is too long is cut."""
    spaces = [place for place, letter in enumerate(name) if letter == " "]
    if len(name) <= 14 or not spaces:
        return _cut(name)
    middle = min(spaces, key=lambda place: abs(place - len(name) / 2))
    return f"{_cut(name[:middle])}\n{_cut(name[middle + 1 :])}"


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def write_source_name(sheet: Image.Image, name: str, centre: int) -> None:
    """Write a source's name upwards along the left edge, around the pixel row `centre`."""
    font = ImageFont.load_default(19)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(name))
    text = Image.new("RGB", (right - left + 2, bottom - top + 2), PAPER)
    ImageDraw.Draw(text).text((1 - left, 1 - top), name, INK, font)
    turned = text.rotate(90, expand=True)
    sheet.paste(turned, ((SIDE - turned.width) // 2, centre - turned.height // 2))
