"""Which classes the labels of a dataset stand for: how many there are, and what they are called.

    found = of_labels(labels, ("Merging Galaxies", "Disturbed Galaxies", ...), where)
    found = of_texts(["spiral", "elliptical", ...], (), where)
    found.labels, found.names, found.note

What the user or the file says decides. Ten names that are Galaxy10's, in its own or in astroNN's spelling, are
Galaxy10's classes, and labels are numbered as Galaxy10 numbers them. Any other name makes them classes of the dataset's
own. Where nobody names them they are called by their numbers; but of a file in Galaxy10's own layout (`assumed`) whose
labels reach class 9, they are taken for Galaxy10's: an assumption, and no copy of it writes a name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from galaxytl.data.galaxy10 import CLASS_COUNTS, CLASS_NAMES, NUM_CLASSES
from galaxytl.system.locations import DataError
from galaxytl.system.strict_json import read_json
from galaxytl.trial.rules import MOST_CLASSES

SPELLINGS: Final = {**{name: i for i, name in enumerate(CLASS_NAMES)}, "Cigar Shaped Smooth": 4, "Cigar Shaped": 4}
"""Galaxy10's names, and those of astroNN's documentation where they differ; "Galaxies" and capitals do not matter."""
MOST_NAMED: Final = MOST_CLASSES + 1
"""Names that are read of a dataset, to say how many there are: more than can be used."""
ONE: Final = 1e-5
"""By which an image's fractions of votes, as float32, may miss 1."""


@dataclass(frozen=True)
class Classes:
    """What the labels of a dataset stand for."""

    labels: NDArray[np.int64]
    """(N,) from 0; numbered as Galaxy10 numbers its classes where they are these."""
    known: tuple[str, ...]
    """Names that the user or the file says, or that the numbers of images prove; empty where they are assumed."""
    note: str = ""
    """For people: what is to be known of the names; empty where they are as expected."""
    votes: NDArray[np.float32] | None = None
    """(N, C) fractions of votes, which add up to 1 in each row and are the most for its label; None: there are none."""
    assumed: bool = False
    """Whether the file has Galaxy10's own layout, so that classes which nobody names may be Galaxy10's."""

    def __post_init__(self) -> None:
        if self.votes is not None and not _are_fractions(self.votes, self.labels, len(self.names)):
            rule = (
                f"votes must be fractions of {len(self.names)} classes that add up to 1, the most for an image's label"
            )
            raise DataError(
                f"{rule}; got {self.votes.dtype} of shape {self.votes.shape} for {len(self.labels):,} images"
            )

    @property
    def own(self) -> tuple[str, ...]:
        """Names of classes that are not Galaxy10's."""
        return () if self.known == CLASS_NAMES else self.known

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """(C,), one an output of a network."""
        if self.known:
            return self.known
        number = max(2, int(self.labels.max()) + 1)
        if self.assumed and number == NUM_CLASSES:
            return CLASS_NAMES
        return tuple(f"class {label}" for label in range(number))


def unknown_classes(num_images: int) -> Classes:
    """Return those of images of which nobody says which class they are: label -1 each."""
    return Classes(np.full(num_images, -1, np.int64), ())


def counts_of(labels: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the images of each class up to the last that has any, of labels (N,)."""
    return tuple(np.bincount(labels).tolist())


def of_labels(labels: NDArray[np.int64], names: Sequence[str], where: object, *, assumed: bool = False) -> Classes:
    """Return the classes of a dataset with these labels (N,), from 0, whose user or file gives `names`, in the order of
    its numbers.

    assumed: whether the file has Galaxy10's own layout. Raises DataError where the names contradict each other or the
    labels, and where there are no two classes with images.
    """
    if int(labels.min()) == int(labels.max()):
        raise DataError(
            f"{where} must have images of at least two classes; all {len(labels):,} have label {labels[0]}. A folder a "
            "class, or the column of --label-column, says which image is of which"
        )
    if all(_is_number(name, i) for i, name in enumerate(names)):  # nothing, or names that say no more than numbers
        if names and int(labels.max()) >= len(names):
            _check(labels, tuple(names), where)
        return Classes(labels, CLASS_NAMES if counts_of(labels) == CLASS_COUNTS else (), assumed=assumed)
    names = tuple(str(name).strip() for name in names)
    _check(labels, names, where)
    numbers = [SPELLINGS_BY_WORDS.get(_words(name)) for name in names]
    if None in numbers or len(set(numbers)) < NUM_CLASSES:  # some of Galaxy10's are no Galaxy10
        return Classes(labels, names, f"its classes are {_shown(names)}")
    if numbers == list(range(len(numbers))):
        return Classes(labels, CLASS_NAMES)
    note = f"its class names are in another order than Galaxy10's ({_shown(names)}): labels are numbered as Galaxy10's"
    return Classes(np.array(numbers, np.int64)[labels], CLASS_NAMES, note)


def of_texts(texts: Sequence[str], names: Sequence[str], where: object) -> Classes:
    """Return the classes of a dataset whose labels are texts (N,): numbered in the order of `names`, else sorted.

    Raises DataError for a text that is empty or none of `names`, for two that differ by capitals alone, and for more
    classes than there can be.
    """
    found, codes = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True)
    return of_coded(found.tolist(), codes.reshape(-1), names, where)


def of_coded(texts: Sequence[str], codes: NDArray[np.int64], names: Sequence[str], where: object) -> Classes:
    """Return the classes of a dataset whose labels (N,) are the texts at `codes`; see `of_texts`."""
    found, order = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True)
    labels = order[codes]
    if all(text.isdecimal() for text in found.tolist()):  # 2 before 10
        order = np.argsort([int(text) for text in found.tolist()], kind="stable")
        found, labels = found[order], np.argsort(order)[labels]
    if "" in found:
        missing = np.flatnonzero(labels == found.tolist().index(""))
        raise DataError(
            f"{where}: every image must have a label; {len(missing):,} of {len(labels):,} have none, the first is "
            f"image {missing[0]}. Leave these rows out, or give them one"
        )
    check_alike(found.tolist(), where)
    if not names:
        if len(found) > MOST_CLASSES:
            raise DataError(f"{where}: there must be at most {MOST_CLASSES:,} classes; it has {len(found):,}")
        return of_labels(labels.reshape(-1).astype(np.int64), found.tolist(), where)
    numbers = {name: number for number, name in enumerate(names)}
    if unknown := [text for text in found.tolist() if text not in numbers]:
        raise DataError(f"{where}: every label must be one of {_shown(names)}; got '{unknown[0]}'")
    order = np.array([numbers[text] for text in found.tolist()], np.int64)
    return of_labels(order[labels.reshape(-1)], names, where)


def _are_fractions(votes: NDArray[Any], labels: NDArray[np.int64], num_classes: int) -> bool:
    """Return whether they are what `Classes.votes` is said to be; NaN is not."""
    if votes.dtype != np.float32 or votes.shape != (len(labels), num_classes) or not votes.min() >= 0:
        return False
    is_one = np.abs(votes.sum(axis=1, dtype=np.float64) - 1) <= ONE
    return bool(np.all(is_one & (votes[np.arange(len(labels)), labels] == votes.max(axis=1))))


def check_alike(names: Sequence[str], where: object) -> None:
    """Raise DataError for names of classes that differ by capitals or blanks alone: most likely one class."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            raise DataError(f"{where}: names of classes must differ by more than capitals; got '{other}' and '{name}'")


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names)[:1000]


def _words(name: str) -> frozenset[str]:
    """
    >>> sorted(_words("Edge-on Galaxies with Bulge")) == sorted(_words("EdgeOn_WithBulge"))
    True
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return frozenset(re.findall(r"[a-z]+", apart.lower())) - {"galaxy", "galaxies", "class"}


SPELLINGS_BY_WORDS: Final = {_words(name): number for name, number in SPELLINGS.items()}


def _is_number(name: object, number: int) -> bool:
    return re.fullmatch(rf"(class|label)?[ _-]?0*{number}", str(name).strip().lower()) is not None


def _check(labels: NDArray[np.int64], names: tuple[str, ...], where: object) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1 or not name}):
        raise DataError(f"{where}: class names must differ and not be empty; got '{twice[0]}' more than once or empty")
    if len(names) > MOST_CLASSES:
        raise DataError(f"{where}: there must be at most {MOST_CLASSES:,} classes; it names {len(names):,}")
    if labels.max() >= len(names):
        raise DataError(f"{where}: every label must have a name; it names {len(names)} and has label {labels.max()}")


def agreed(found: Mapping[str, Sequence[str]], where: object) -> tuple[str, ...]:
    """Return the names that all places (name of the place -> names) give; () where there is no place. Raises
    DataError."""
    first = next(iter(found), "")
    for place, names in found.items():
        if tuple(names) != tuple(found[first]):
            raise DataError(
                f"{where}: class names must be the same everywhere; {first} says {_shown(found[first])}, "
                f"{place} says {_shown(names)}"
            )
    return tuple(found[first]) if found else ()


def by_number(names: Mapping[int, str]) -> list[str]:
    """List names by number, all from 0 on. Raises ValueError for numbers that are none of a class."""
    if names and not 0 <= min(names) <= max(names) < MOST_NAMED:
        raise ValueError(f"classes must have numbers from 0 to {MOST_CLASSES - 1}; got {min(names)} to {max(names)}")
    return [str(names.get(number, f"class {number}")) for number in range(max(names, default=-1) + 1)]


def in_json(value: Any) -> list[str]:
    """Return names out of JSON: a list, or a mapping of numbers to names or of names to numbers; [] of anything
    else."""
    if isinstance(value, Mapping):
        try:
            turned = all(isinstance(number, int) for number in value.values())
            return by_number({int(n): k for k, n in value.items()} if turned else {int(k): n for k, n in value.items()})
        except ValueError:
            return []
    return [str(name) for name in value] if isinstance(value, list) else []


def in_parquet(metadata: Mapping[bytes, bytes] | None, column: str = "label") -> list[str]:
    """Return class names in the metadata of a Parquet schema, where Hugging Face's `datasets` writes a column's
    ClassLabel. column: its name, or its path within a column of structs."""
    try:
        found = read_json((metadata or {})[b"huggingface"])["info"]["features"]
        for part in [column] if column in found else column.split("."):
            found = found[part]
        return in_json(found.get("names"))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return []
