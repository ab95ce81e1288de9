"""How a dataset is to be read, where its user says more than where it lies.

    reading = Reading(label_columns=("smooth_or_featured",))
    add_reading(parser); reading = reading_of(parser.parse_args())      # of every command that reads a dataset

Standard library only: it travels with the trials to where they are trained.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from galaxytl.system.command import UsageError, path
from galaxytl.trial.rules import MOST_CLASSES

LONGEST_NAMES: Final = 2**20
"""Bytes of a file of class names."""


MOST_ASKED: Final = 16
"""Columns beside id, ra, dec and redshift."""


@dataclass(frozen=True)
class Reading:
    """What the user says of a dataset; what is empty is found out."""

    image_column: str = ""
    """Of a table, or of an HDF5 or npz file: the one with the images, or with the paths of their files."""
    label_columns: tuple[str, ...] = ()
    """One has the class of each image. Several have its votes, a column a class, whose names are the classes'."""
    class_names: tuple[str, ...] = ()
    """In the order of their numbers."""
    fits_bands: tuple[str, ...] = ()
    """Bands of FITS cutouts that become red, green and blue, in the order of rising wavelength, or one; ("g", "r", "z")
    makes z red and g blue."""
    columns: tuple[str, ...] = ()
    """Further columns that travel to the predictions."""
    group_by: str = ""
    """Column whose values say which images stay on one side of every split; "" for none."""
    fits_stretch: float = 0.5
    """Of FITS cutouts, in their unit: brightness is shown linearly below a tenth of it. 0.5 suits nanomaggies."""
    wants_labels: ClassVar[bool] = True
    """Whether every image must have a class."""

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Columns that are read beside those that are always read where they are there."""
        return tuple(dict.fromkeys((*self.columns, *((self.group_by,) if self.group_by else ()))))


AS_FOUND: Final = Reading()


class ImagesAlone(Reading):
    """What the user says of images that are to be classified: which class they are of is not read, and need not be
    there. No field of its own, so that what is noted of files that were read before stays found."""

    wants_labels: ClassVar[bool] = False


def add_reading(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Add the options that `reading_of` reads."""
    add_images(group)
    group.add_argument(
        "--label-column",
        metavar="COLUMN[,COLUMN]",
        type=_names,
        help="column of classes, as numbers or names; several: votes for each class",
    )
    group.add_argument(
        "--class-names",
        type=path,
        metavar="FILE",
        help="names of the classes in the order of their numbers, a line each",
    )
    group.add_argument(
        "--group-by",
        metavar="COLUMN",
        help="keep images with the same value in this column on one side of every split",
    )


def add_images(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Add the options that `images_of` reads."""
    group.add_argument("--image-column", metavar="COLUMN", help="column of images, or of their paths")
    group.add_argument(
        "--fits-bands",
        type=_names,
        metavar="BAND[,BAND,BAND]",
        help="bands of FITS cutouts by their wavelengths, like g,r,z: the first is shown blue, the last red",
    )
    group.add_argument(
        "--fits-stretch",
        type=_positive,
        default=AS_FOUND.fits_stretch,
        metavar="X",
        help="Lupton's stretch of FITS cutouts, in their unit: some 50 times the sky's noise; default: %(default)g",
    )
    group.add_argument("--columns", type=_names, metavar="COLUMN,...", help="further columns that predictions keep")


def reading_of(given: argparse.Namespace) -> Reading:
    """Return what the options of `add_reading` say. Raises UsageError."""
    labels = given.label_column or ()
    names = _class_names(given.class_names) if given.class_names else ()
    if names and len(labels) > 1:
        raise UsageError("--class-names does not go with several --label-column: columns of votes name the classes")
    images = images_of(given)
    return Reading(**{**vars(images), "label_columns": labels, "class_names": names, "group_by": given.group_by or ""})


def images_of(given: argparse.Namespace) -> ImagesAlone:
    """Return what the options of `add_images` say. Raises UsageError."""
    bands, columns = given.fits_bands or (), given.columns or ()
    if len(bands) not in (0, 1, 3):
        raise UsageError(f"--fits-bands takes one band or three, like g,r,z; got {','.join(bands)}")
    if len(columns) > MOST_ASKED:
        raise UsageError(f"--columns takes at most {MOST_ASKED} columns; got {len(columns)}")
    image = given.image_column or ""
    return ImagesAlone(image_column=image, fits_bands=bands, columns=columns, fits_stretch=given.fits_stretch)


def _positive(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0; got '{text}'")
    return value


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"names must differ, and none be empty; got '{text}'")
    return names


def _class_names(file: Path) -> tuple[str, ...]:
    """Return the lines of a file. Raises UsageError."""
    try:
        content = file.read_bytes()[: LONGEST_NAMES + 1]
        names = [line.strip() for line in content.decode().splitlines()]
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--class-names must be a text file with a name a line; {file} cannot be read: {error}"
        ) from error
    while names and not names[-1]:
        names.pop()
    _check_names(names, file)
    return tuple(names)


def _check_names(names: Sequence[str], file: Path) -> None:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise UsageError(f"--class-names must name 2 to {MOST_CLASSES:,} classes; {file} has {len(names):,} lines")
    if wrong := next((n for n, name in enumerate(names) if not name or name in names[:n]), None):
        raise UsageError(
            f"--class-names must be a name a line, each once; line {wrong + 1} of {file} is '{names[wrong]}'"
        )
    if not names[0]:
        raise UsageError(f"--class-names must be a name a line, each once; line 1 of {file} is empty")
