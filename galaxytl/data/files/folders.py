"""A folder a class: its pictures' names say where they lie, the folders' which class they are of.

    my_galaxies/spiral/1.jpg                  my_galaxies/train/spiral/1.jpg
    my_galaxies/elliptical/2.png              my_galaxies/test/elliptical/2.png

    source = read_folders(location, scratch, reading)

Above the classes may lie train/, test/ and validation/ (valid/, val/): then column "split" says where each image is.
Images are in the order of their paths, whatever order a file system gives. Files of operating systems, hidden ones and
what is no picture by its name's end are left out, and said.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from galaxytl.data.files import fits, pictures
from galaxytl.data.files.classes import Classes, of_labels, of_texts, unknown_classes
from galaxytl.data.files.containers import ID_COLUMN, PARTS, SPLIT_COLUMN, Columns, unknown_columns
from galaxytl.data.files.contents import Contents
from galaxytl.data.files.listed import ListedSource
from galaxytl.data.findings import Finding
from galaxytl.data.progress import TerminalProgress
from galaxytl.system.locations import DataError, Location, reaching
from galaxytl.trial.reading import Reading

LEFT_BEHIND: Final = ("thumbs.db", "ehthumbs.db", "desktop.ini")
"""Files that operating systems write beside pictures, in small letters, besides hidden ones (.name)."""
ARCHIVES: Final = "__MACOSX"
"""A folder in ZIP files of macOS, with a hidden file beside each that is in them."""
PART: Final = 10_000
"""Names held as Python's text before they become Arrow's, which takes a third."""
PICTURE_ENDS, FITS_ENDS = ({end.rpartition(".")[2] for end in ends} for ends in (pictures.ENDINGS, fits.ENDINGS))
NAMED: Final = 5
"""Names that a sentence about several gives."""


def is_pictures(what: Contents) -> bool:
    return what.is_folder and what.has(*PICTURE_ENDS) and not is_cutouts(what)


def is_cutouts(what: Contents) -> bool:
    """Return whether a folder has FITS files, which previews may lie beside: at least as many as pictures."""
    number = [sum((what.endings or {}).get(end, 0) for end in ends) for ends in (FITS_ENDS, PICTURE_ENDS)]
    return what.is_folder and number[0] >= max(1, number[1])


def read_folders(location: Location, _scratch: Path, reading: Reading) -> ListedSource:
    """Return the pictures below a folder, of which each lies in a folder of its class. Raises DataError."""
    return fits.with_cutouts(listed_folders(location, reading, pictures.ENDINGS), reading)


def read_cutouts(location: Location, _scratch: Path, reading: Reading) -> ListedSource:
    """Return the FITS files below a folder, of which each lies in a folder of its class. Raises DataError."""
    return fits.with_cutouts(listed_folders(location, reading, fits.ENDINGS), reading)


def listed_folders(location: Location, reading: Reading, endings: tuple[str, ...]) -> ListedSource:
    """Return the files below a folder whose names end so (in small letters), of which each lies in a folder of its
    class; of a Reading that wants no labels, in whatever folder. Raises DataError."""
    listing = _listing(location, endings, reading.wants_labels)
    names, folders, states = listing.in_order()
    if not len(names):
        raise DataError(f"{location} must hold pictures; it has none. Left out: {listing.hidden_name or listing.other}")
    if reading.wants_labels:
        _check_places(listing, names, folders, location)
        classes = _classes(listing, folders, reading, location)
    else:
        classes = unknown_classes(len(names))
    columns = unknown_columns(len(names)) | {ID_COLUMN: names.to_numpy(zero_copy_only=False)}
    if listing.has_splits and reading.wants_labels:
        parts = np.array([PARTS[folder.partition("/")[0].lower()] for folder in listing.folders])
        columns[SPLIT_COLUMN] = parts[folders]
    _check_asked(reading, columns, location)
    findings = tuple(_findings(listing, location))
    return ListedSource(location, names, classes, columns, findings=findings, states=states)


@dataclass
class Listing:
    """What lies below a folder, as far as it was gone through."""

    parts: list[Any] = field(default_factory=list)
    """Arrow arrays with the paths of pictures."""
    folders: dict[str, int] = field(default_factory=dict)
    """Those with pictures, "" for the one that is listed -> their numbers."""
    numbers: array[int] = field(default_factory=lambda: array("q"))
    """Of each picture's folder."""
    states: array[int] = field(default_factory=lambda: array("q"))
    """Bytes and nanoseconds of each picture, where the listing tells them."""
    others: Counter[str] = field(default_factory=Counter)
    """Ends of names of other files -> how many."""
    other: str = ""
    """The first of them."""
    hidden: int = 0
    hidden_name: str = ""
    """The first of them."""

    @property
    def has_splits(self) -> bool:
        return any(_is_in_split(folder) for folder in self.folders)

    def add(self, names: list[str]) -> None:
        """Hold the paths of further pictures."""
        import pyarrow as pa

        self.parts.append(pa.array(names, pa.large_string()))

    def in_order(self) -> tuple[Any, NDArray[np.int64], NDArray[np.int64] | None]:
        """Return the paths (N,) as an Arrow array in their order, the numbers of their folders (N,), and `states`
        (N, 2)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        names = pa.concat_arrays(self.parts)
        self.parts.clear()
        order = pc.sort_indices(names)
        rows = order.to_numpy()
        states = np.array(self.states, np.int64).reshape(-1, 2)[rows] if self.states else None
        return names.take(order), np.array(self.numbers, np.int64)[rows], states


def _listing(location: Location, endings: tuple[str, ...], is_complete: bool) -> Listing:
    """Go through the names below a folder, of which a few are held at a time. Raises DataError for a picture that is a
    link that leads nowhere, where all are to be there (`is_complete`): classifying lists it among the unreadable."""
    listing = Listing()
    pending: list[str] = []
    with reaching(location), TerminalProgress(Console(stderr=True)) as progress:
        for name, size, modified in location.entries():
            if not _is_picture(name, listing, endings):
                continue
            if is_complete:
                location.check_inside(name)
            listing.numbers.append(listing.folders.setdefault(name.rpartition("/")[0], len(listing.folders)))
            if not location.is_local:
                listing.states.extend((size, modified))
            pending.append(name)
            if len(pending) == PART:
                listing.add(pending)
                pending = []
                progress.update("listing pictures", len(listing.numbers), 0)
        listing.add(pending)
    return listing


def _is_picture(name: str, listing: Listing, endings: tuple[str, ...]) -> bool:
    """Return whether a file is a picture by its name's end; count those that are not."""
    *folders, file = name.split("/")
    if ARCHIVES in folders or file.lower() in LEFT_BEHIND or re.search(r"(^|/)\.", name):
        listing.hidden += 1
        listing.hidden_name = listing.hidden_name or name
        return False
    if name.lower().endswith(endings):
        return True
    listing.others[f".{file.rpartition('.')[2]}" if "." in file else "without an ending"] += 1
    listing.other = listing.other or name
    return False


def _is_in_split(folder: str) -> bool:
    top, _, below = folder.partition("/")
    return top.lower() in PARTS and below != "" and "/" not in below


def _check_places(listing: Listing, names: Any, folders: NDArray[np.int64], location: Location) -> None:
    """Raise DataError for pictures that do not lie in a folder of their class."""
    if listing.has_splits:
        wrong = [number for folder, number in listing.folders.items() if not _is_in_split(folder)]
    else:
        only_splits = all(folder.lower() in PARTS for folder in listing.folders)
        wrong = [n for folder, n in listing.folders.items() if only_splits or not folder or "/" in folder]
    rows = np.flatnonzero(np.isin(folders, wrong))
    if rows.size:
        rule = "pictures must lie in a folder of their class, as class/picture or train/class/picture"
        found = f"{rows.size:,} of {len(names):,} do not, the first is {names[int(rows[0])]}"
        raise DataError(f"{location}: {rule}; {found}. {_advice(listing)}")


def _advice(listing: Listing) -> str:
    tops = {folder.partition("/")[0] for folder in listing.folders}
    if listing.folders.keys() == {""}:
        return "Put them into a folder a class, or name the table that tells their classes: --data TABLE.csv"
    if len(tops) == 1 and (top := tops.pop()).lower() not in PARTS:
        return f"Classes may begin further down: name that folder, {top} or one in it"
    return "Move them, or name the folder in which the classes lie"


def _classes(listing: Listing, folders: NDArray[np.int64], reading: Reading, location: Location) -> Classes:
    """Return the classes that the folders (N,), by their numbers, stand for."""
    texts = [folder.rpartition("/")[2] for folder in listing.folders]
    different = sorted(set(texts))
    if len(different) == 1:
        raise DataError(
            f"{location} must have folders of at least two classes; all {len(folders):,} pictures lie in folders that "
            f"are called {different[0]}"
        )
    found = of_texts(different, reading.class_names, location)
    number = dict(zip(different, found.labels.tolist(), strict=True))
    labels = np.array([number[text] for text in texts], np.int64)[folders]
    return replace(of_labels(labels, found.names, location), note=found.note)


def _check_asked(reading: Reading, columns: Columns, location: Location) -> None:
    """Raise DataError where columns are asked for that names of folders and files do not tell."""
    asked = (reading.image_column, *reading.label_columns, *reading.extra_columns)
    if unknown := [name for name in asked if name and name not in columns]:
        there = f"{ID_COLUMN}, the path of each picture" + (f", and {SPLIT_COLUMN}" if SPLIT_COLUMN in columns else "")
        raise DataError(
            f"{location}: of a folder a class there is the column {there}; got '{unknown[0]}'. A table with paths has "
            "more: --data TABLE.csv"
        )


def _findings(listing: Listing, location: Location) -> Iterator[Finding]:
    if listing.hidden:
        message = f"files left out as hidden or of an operating system: {listing.hidden:,}, such as"
        yield Finding("hidden_files", False, f"{message} '{listing.hidden_name}'", listing.hidden)
    if count := listing.others.total():
        kinds = ", ".join(f"{number:,} {ending}" for ending, number in listing.others.most_common(NAMED))
        message = f"files left out as their names end like no picture's: {kinds}, such as '{listing.other}'"
        yield Finding("other_files", False, message, count)
    if empty := _empty_folders(listing, location):
        names = ", ".join(empty[:NAMED]) + (f" and {len(empty) - NAMED:,} more" if len(empty) > NAMED else "")
        yield Finding("empty_folders", False, f"folders left out as no picture lies in them: {names}", len(empty))


def _empty_folders(listing: Listing, location: Location) -> list[str]:
    """Return the folders in which pictures of a class could lie and do not."""
    from pyarrow.fs import FileSelector, FileType

    tops = {folder.partition("/")[0] for folder in listing.folders} if listing.has_splits else set()
    empty = []
    for top in ("", *sorted(tops)):
        place = location.child(top) if top else location
        with reaching(place):
            entries = place.filesystem.get_file_info(FileSelector(place.path))
        names = [entry.base_name for entry in entries if entry.type == FileType.Directory]
        empty += [f"{top}/{name}" if top else name for name in names if name[:1] != "." and name != ARCHIVES]
    return sorted(set(empty) - tops - listing.folders.keys())
