"""HDF5 files of 40 galaxies with mutations."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from galaxytl.data.galaxy10 import CLASS_NAMES
from tests.fuzz.damage import damage_bytes
from tests.galaxies import LABELS, make_images

Columns = dict[str, Any]


def write(path: Path, rng: random.Random, mutations: int) -> Path:
    """A file in Galaxy10's layout, stored in one of many ways, with so many mutations."""
    path = path.with_suffix(".h5")
    columns: Columns = {"images": make_images(), "ans": LABELS.astype(np.uint8)}
    how = rng.choice(STORAGE) if mutations else {}
    inside = [rng.choice(INSIDE) for _ in range(mutations) if rng.random() < 0.7]
    for change in inside:
        with contextlib.suppress(
            KeyError, TypeError, ValueError, IndexError, AttributeError
        ):  # what an earlier one left does not suit
            change(columns, rng)
    with h5py.File(path, "w", libver=rng.choice([None, "latest"])) as file:
        for name, value in columns.items():
            with contextlib.suppress(TypeError, ValueError):  # what HDF5 cannot hold is left out
                _put(file, name, value, how if name == "images" else {})
    for _ in range(mutations - len(inside)):
        damage_bytes(path, rng)
    return path


def _put(file: h5py.File, name: str, value: Any, how: dict[str, Any]) -> None:
    if isinstance(value, h5py.ExternalLink | h5py.SoftLink):
        file[name] = value
    elif name.startswith("@"):
        file.attrs[name[1:]] = value
    elif isinstance(value, np.ndarray) and how and value.ndim == 4:
        chunks = tuple(min(a, b) for a, b in zip(how["chunks"], value.shape, strict=True))
        file.create_dataset(name, data=value, **{**how, "chunks": chunks})
    else:
        file[name] = value


STORAGE: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"chunks": (1, 256, 256, 3)},
    {"chunks": (7, 64, 64, 1), "compression": "gzip", "shuffle": True},
    {"chunks": (13, 256, 17, 3), "compression": "lzf"},
    {"chunks": (1, 256, 256, 3), "compression": "gzip", "fletcher32": True},
)


def relabel(columns: Columns, rng: random.Random) -> None:
    columns["ans"] = np.array([rng.randrange(-1, 12) for _ in LABELS])


def retype_labels(columns: Columns, rng: random.Random) -> None:
    columns["ans"] = columns["ans"].astype(rng.choice(["f4", ">i8", "i1", "u8", "S3", "bool"]))


def turn_labels(columns: Columns, rng: random.Random) -> None:
    columns["ans"] = np.roll(columns["ans"], rng.randrange(40))


def retype_images(columns: Columns, rng: random.Random) -> None:
    columns["images"] = np.asarray(columns["images"]).astype(rng.choice(["f2", "i1", "u2", ">u2", "f8"]))


def reshape_images(columns: Columns, rng: random.Random) -> None:
    images = np.asarray(columns["images"])
    columns["images"] = rng.choice([images[..., 0], images[:, :64, :64], images.transpose(0, 3, 1, 2), images[:39]])


def blacken(columns: Columns, rng: random.Random) -> None:
    images = np.array(columns["images"])
    images[rng.sample(range(len(images)), rng.choice([1, 3, 10, len(images) // 2]))] = rng.choice([0, 0, 255])
    columns["images"] = images


def name_classes(columns: Columns, rng: random.Random) -> None:
    names = list(CLASS_NAMES)
    rng.shuffle(names)
    if rng.random() < 0.3:
        names[0] = rng.choice(["cat", "", names[1], "Größe"])
    key = rng.choice(["@class_names", "@classes", "labels", "names", "Class Names"])
    columns[key] = rng.choice([names, ", ".join(names), names[:4], [n.encode("latin-1") for n in names]])


def positions(columns: Columns, rng: random.Random) -> None:
    choices: list[Any] = [np.zeros(40), np.full(40, np.inf), np.arange(40) * 30.0, ["here"] * 40, np.zeros((40, 2))]
    columns[rng.choice(["ra", "dec", "redshift"])] = rng.choice(choices)


def link(columns: Columns, rng: random.Random) -> None:
    name = rng.choice(["images", "ans", "ra"])
    columns[name] = rng.choice([h5py.ExternalLink("other.h5", "/x"), h5py.SoftLink("/nowhere"), h5py.SoftLink("/ans")])


def lose(columns: Columns, rng: random.Random) -> None:
    columns.pop(rng.choice(["images", "ans"]), None)


def claim(columns: Columns, rng: random.Random) -> None:
    columns["@dataset_name"] = rng.choice(["simulated", "galaxy10_decals", 7, "", b"\xff"])


INSIDE: Final[tuple[Callable[[Columns, random.Random], None], ...]] = (
    *(relabel, retype_labels, turn_labels, retype_images, reshape_images, blacken),
    *(name_classes, name_classes, positions, link, lose, claim),
)
