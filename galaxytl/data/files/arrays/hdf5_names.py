"""Names of classes in an HDF5 file, wherever its writer put them.

names = in_hdf5(file, {"images": file["images"], "ans": file["ans"]}, labels, "g.h5")
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.files.arrays.hdf5_layout import opened, texts
from galaxytl.data.files.classes import MOST_NAMED, agreed, by_number, in_json
from galaxytl.system.locations import DataError
from galaxytl.system.strict_json import read_json
from galaxytl.trial.rules import MOST_CLASSES

KEYS: Final = frozenset(
    (
        *("classnames", "classname", "classes", "class", "labelnames", "labels", "names", "categories", "classlabels"),
        *("targetnames", "ansnames", "labelname", "categorynames", "galaxyclasses"),
    )
)
"""Attributes and datasets of an HDF5 file that may hold the names of its classes, in small letters and nothing else."""
MOST_ATTRIBUTES: Final = 10_000
"""Of a file or dataset: a FITS header has some hundreds of cards."""


def in_hdf5(
    file: Any, columns: Mapping[str, Any], labels: NDArray[np.int64], where: object, others: Collection[str] = ()
) -> tuple[str, ...]:
    """Return class names that an open h5py file says: the labels' HDF5 enumeration, or an attribute or dataset of
    names.

    columns: its datasets `images` and `ans`; others: names of those that hold something else. Raises DataError where
    names contradict each other, or are too many.
    """
    found = {}
    for place, said in _hdf5_places(file, columns, len(labels), others, where):
        is_of_images = (
            len(said) == len(labels) > int(labels.max()) + 1
        )  # a text an image, which may be of its class, or of itself
        if names := _of_images(labels, said) if is_of_images else said:
            found[place] = names
    return agreed(found, where)


def _of_images(labels: NDArray[Any], texts: Sequence[str]) -> list[str]:
    """Return class names from a text an image (N,); [] where images of one label have different texts: they are no
    classes."""
    pairs = dict(zip(labels.tolist(), texts, strict=True))
    same = all(pairs[label] == text for label, text in zip(labels.tolist(), texts, strict=True))
    return by_number(pairs) if same else []


def _hdf5_places(
    file: Any, columns: Mapping[str, Any], count: int, others: Collection[str], where: object
) -> Iterator[tuple[str, Sequence[str]]]:
    import h5py

    ans, images = columns["ans"], columns["images"]
    if (members := h5py.check_enum_dtype(ans.dtype)) and min(members.values()) >= 0:
        yield "the type of ans", by_number({number: name for name, number in members.items()})
    holders = (("an attribute", file), ("an attribute of ans", ans), ("an attribute of images", images))
    for place, holder in holders:
        if len(holder.attrs) > MOST_ATTRIBUTES:  # HDF5 holds all of them to tell their names
            raise DataError(
                f"{where}: there may be {MOST_ATTRIBUTES:,} attributes; got {place}, of {len(holder.attrs):,}"
            )
        for key in filter(_is_key, holder.attrs):
            name = f"{place}, {key},"
            yield name, _names_in(holder.attrs.get_id(key), MOST_NAMED, f"{where}: {name}")
    for key in (name for name in file if _is_key(name) and name not in others):
        with contextlib.suppress(KeyError):  # a link that leads nowhere
            if isinstance(item := opened(file, key, where), h5py.Dataset):
                name = f"the dataset {key}"
                yield name, _names_in(item, max(count, MOST_NAMED), f"{where}: {name}")


def _names_in(holder: Any, most: int, where: str) -> list[str]:
    """Return the names in an attribute or dataset: a list of texts, a JSON text, or a text with commas; [] of what is
    not text."""
    try:
        found = texts(holder, most)
    except ValueError as error:
        raise DataError(f"{where} must hold the names of at most {MOST_CLASSES:,} classes: {error}") from error
    return _split(found[0]) if len(found) == 1 else found


def _is_key(name: str) -> bool:
    return re.sub(r"[^a-z]", "", name.lower()) in KEYS


def _split(text: str) -> list[str]:
    try:
        parsed = read_json(text.encode())
    except ValueError:
        return [part.strip() for part in re.split(r"[,;\n]", text)]
    return in_json(parsed) or [text]
