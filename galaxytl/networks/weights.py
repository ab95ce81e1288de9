"""ImageNet weights: where the file is, whether it is whole, and which tensors it holds.

    weights = find_weights("VGG16", weights_dir)     # .path, .fingerprint

Looked for in `weights_dir`, in $GALAXYTL_WEIGHTS_DIR, and where Keras keeps its downloads; else it is fetched to there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import math
import mmap
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from galaxytl.data.download.http import Patience, is_reachable
from galaxytl.data.files.arrays.hdf5_layout import opened, texts, values
from galaxytl.data.progress import Reporter, Unheard
from galaxytl.networks import device
from galaxytl.networks.backbones import backbone_named
from galaxytl.networks.families import Backbone
from galaxytl.networks.published import fetch_published
from galaxytl.system import process
from galaxytl.system.locations import DataError
from galaxytl.trial import TrialSpec

Shapes = tuple[tuple[tuple[int, ...], ...], ...]
"""Of the layers that have weights, those of their tensors, in order."""

BRIEF = Patience(attempts=3, longest_requested_wait=10.0)
"""Of a sweep, which goes on without a network whose weights cannot be had; --fetch is more patient."""
MOST_NAMES = 128 * 2**20
"""Bytes that all names of layers and weights may take. NASNetLarge has 2,600, some 60 bytes each."""


class WeightsError(ValueError):
    """A weights file that is there but cannot be used."""


class WeightsNotFoundError(WeightsError):
    """No weights file, and none could be downloaded."""


@dataclass(frozen=True)
class Weights:
    path: Path
    fingerprint: str


def starting_weights(spec: TrialSpec, weights_dir: Path | None) -> Path | None:
    """Return the file that a trial's backbone starts from, checked; None where it starts from random weights. Raises
    WeightsError, also where the file holds other tensors than the trial's sweep saw."""
    if spec.weights != "imagenet":
        return None
    weights = find_weights(spec.backbone, weights_dir)
    if weights.fingerprint != spec.weights_fingerprint:
        wanted, found = spec.weights_fingerprint[:12], weights.fingerprint[:12]
        raise WeightsError(f"{weights.path} must hold the tensors {wanted} that the sweep saw; it holds {found}")
    return weights.path


def find_weights(backbone_name: str, weights_dir: Path | None = None, *, download: bool = True) -> Weights:
    """Find the ImageNet weights of a backbone, and check them.

    Raises WeightsNotFoundError when there are none, WeightsError when the file is damaged, another backbone's, or in
    another layout than Keras publishes.
    """
    backbone = backbone_named(backbone_name)
    places = weight_places(weights_dir)
    for place in places:
        if (path := place / backbone.weights_file).is_file():
            return _checked(path, backbone)
    if download and is_online(backbone):
        with contextlib.suppress(DataError, OSError):
            return _checked(fetch_published(backbone, places[-1], _Lines(), BRIEF), backbone)
    raise WeightsNotFoundError(
        f"ImageNet weights of {backbone.name} not found: put {backbone.weights_file} into --weights-dir "
        f"(looked in {', '.join(map(str, places))}; get it from {backbone.weights_url}, or by the same command with "
        "--fetch on a machine with a network)"
    )


def fetch_weights(backbone_name: str, folder: Path, reporter: Reporter) -> Weights:
    """Return the ImageNet weights of a backbone in `folder`, copied to there from where they are, else fetched.

    Raises DataError or OSError where they cannot be had, WeightsError where the file cannot be used.
    """
    backbone = backbone_named(backbone_name)
    found = None
    with contextlib.suppress(WeightsNotFoundError):
        found = find_weights(backbone_name, folder, download=False)
    path = found.path if found else fetch_published(backbone, folder, reporter)
    if path.parent != folder:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".copying-{backbone.weights_file}"
        shutil.copyfile(path, unfinished)
        path = unfinished.replace(folder / backbone.weights_file)
    return _checked(path, backbone)


def is_online(backbone: Backbone) -> bool:
    """Return whether the server of a backbone's weights answers."""
    return is_reachable(backbone.weights_url)


class _Lines(Unheard):
    """Says what there is to say, and shows no bar: another may be shown."""

    def say(self, text: str) -> None:
        print(text, flush=True)


def weight_places(weights_dir: Path | None) -> list[Path]:
    """Return the folders that are looked into, in order; the last is Keras's own."""
    named = [weights_dir] if weights_dir else []
    if variable := os.environ.get("GALAXYTL_WEIGHTS_DIR"):
        named.append(process.absolute(variable))
    return [*named, device.keras_home() / "models"]


def _checked(path: Path, backbone: Backbone) -> Weights:
    _saved(path, backbone, *_state(path))
    return Weights(path, fingerprint_of(path, backbone))


def fingerprint_of(path: Path, backbone: Backbone) -> str:
    """Return the SHA-256 over the sorted digests of all tensors: equal for equal tensors in whatever layout they lie.

    The MD5 that Keras pins is of the file, and so differs between layouts of the same weights.
    """
    return _fingerprint(path, backbone, *_state(path))


def _state(path: Path) -> tuple[int, ...]:
    """Return what says that a file has changed: while it stays the same, a process reads a file once. Of its times,
    that of a change cannot be put back."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


@functools.cache
def _fingerprint(path: Path, backbone: Backbone, *_state: int) -> str:
    digests = []
    with _opened(path, backbone) as group:
        tensors = dict(_tensors(group, path, backbone))
        _check_tensors(tensors, path, backbone)
        for name, dataset in tensors.items():
            tensor = np.ascontiguousarray(values(dataset, name, path))
            if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
                raise WeightsError(f"{path} must hold finite weights; {name} has others. Fetch it again.")
            digests.append(hashlib.sha256(f"{tensor.dtype}{tensor.shape}".encode() + tensor.tobytes()).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _tensors(group: Any, path: Path, backbone: Backbone) -> Iterator[tuple[str, Any]]:
    """Give name and h5py dataset of all that lies in a group, each once, however links lead in circles: HDF5's own
    visit believes a file that says how often an object is linked to.

    Raises WeightsError for what lies in other files, or in other places, which no fingerprint would cover.
    """
    import h5py

    seen, left = {_address(group)}, [("", group)]
    while left:
        start, holder = left.pop()
        for key in list(holder):
            name = f"{start}{key}"
            if not _is_hard(holder, key):
                raise _lie_elsewhere(path, name, backbone)
            item = opened(holder, key, path)
            if _address(item) in seen:
                continue
            seen.add(_address(item))
            if isinstance(item, h5py.Group):
                left.append((f"{name}/", item))
            elif isinstance(item, h5py.Dataset):
                yield name, item


def _address(item: Any) -> int:
    import h5py

    return int(h5py.h5o.get_info(item.id).addr)


def _is_hard(group: Any, key: str) -> bool:
    import h5py

    try:
        return isinstance(group.get(key, getlink=True), h5py.HardLink)
    except TypeError:  # of a kind that a program registers itself
        return False


def _lie_elsewhere(path: Path, name: str, backbone: Backbone) -> WeightsError:
    copy = f"Copy all into one file, or get it from {backbone.weights_url}"
    return WeightsError(f"{path} must hold its weights itself; {name} only says where they lie. {copy}")


def _check_tensors(tensors: Mapping[str, Any], path: Path, backbone: Backbone) -> None:
    """Raise WeightsError, before any is read, unless they are as many numbers as the backbone has."""
    for name, tensor in tensors.items():
        if tensor.shape is None or tensor.dtype.kind not in "fiub":
            raise WeightsError(f"{path} must hold numbers; {name} has {tensor.dtype}. Fetch it again.")
    count = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if count != backbone.num_parameters:
        raise WeightsError(
            f"{path} must hold the {backbone.num_parameters:,} weights of {backbone.name} without its top; "
            f"it holds {count:,}, so it is another network's. Get it from {backbone.weights_url}"
        )


@contextlib.contextmanager
def _opened(path: Path, backbone: Backbone) -> Iterator[Any]:
    """Open the part of an HDF5 file that Keras's `load_weights` reads: not the optimizer's state beside a model's."""
    import h5py

    if zipfile.is_zipfile(path):
        raise WeightsError(_another_layout(path, "a .keras archive", backbone))
    try:
        with h5py.File(path, "r", locking=False) as file:
            is_model = "layer_names" not in file.attrs and "model_weights" in list(file)  # which follows no link
            yield opened(file, "model_weights", path) if is_model else file
    except WeightsError:
        raise
    except (OSError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(f"{path} cannot be read as HDF5, perhaps truncated: {error}. Fetch it again.") from error


def _another_layout(path: Path, layout: str, backbone: Backbone) -> str:
    return (
        f"{path} must have the layout of the files that Keras publishes, HDF5 with layer_names; it is {layout}. Get it "
        f"from {backbone.weights_url}, or load yours into {backbone.name} without its top, and model.save() that as .h5"
    )


def check_fits(path: Path, backbone_name: str, tensors: Shapes) -> None:
    """Raise WeightsError where the file does not fit a network of these tensors
    (`galaxytl.networks.blocks.Structure`)."""
    backbone = backbone_named(backbone_name)
    saved = _saved(path, backbone, *_state(path)) if tensors else ()
    for i, (found, wanted) in enumerate(itertools.zip_longest(saved, tensors, fillvalue=())):
        if found != wanted:
            raise WeightsError(
                f"{path} must fit {backbone.name}, whose layer {i + 1} of {len(tensors)} with weights has the shapes "
                f"{_listed(wanted)}; there it has {_listed(found)}. Get it from {backbone.weights_url}"
            )


def _listed(shapes: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join("x".join(map(str, shape)) or "one number" for shape in shapes) or "none"


@functools.cache
def _saved(path: Path, backbone: Backbone, *_state: int) -> Shapes:
    """Return the shapes in a file, in the order in which Keras reads them. Raises WeightsError where it could not:
    another layout, or content that lies in other files, which no fingerprint would cover."""
    with _opened(path, backbone) as group:
        names = _Names(path)
        layers = names.listed(group, "layer_names")
        if not layers:
            own = not {"layers", "_layer_checkpoint_dependencies"}.isdisjoint(group)
            layout = "in that of Keras 3's .weights.h5" if own else "in another"
            raise WeightsError(_another_layout(path, layout, backbone))
        tensors = dict(_tensors(group, path, backbone))
        try:
            found = [
                [tensors[f"{layer}/{name}"].shape for name in names.listed(opened(group, layer, path), "weight_names")]
                for layer in layers
            ]
        except (KeyError, AttributeError) as error:
            raise WeightsError(f"{path} must hold what it names; {error}. Fetch it again.") from error
    return tuple(tuple(shapes) for shapes in found if shapes)


class _Names:
    """Lists of names in the attributes of a file, which hold most of memory where they are many and long."""

    def __init__(self, path: Path) -> None:
        self._left, self._longest = MOST_NAMES, _longest_text(path)

    def listed(self, group: Any, attribute: str) -> list[str]:
        """Return the texts in an attribute, or in several where they are long: "layer_names0", "layer_names1"."""
        parts = [attribute] if attribute in group.attrs else []
        while not parts or f"{attribute}{len(parts)}" in group.attrs:
            parts.append(f"{attribute}{len(parts)}")
        return [name for part in parts if part in group.attrs for name in self._texts(group.attrs.get_id(part))]

    def _texts(self, attribute: Any) -> list[str]:
        self._left -= math.prod(attribute.shape or ()) * self._longest
        if self._left < 0:
            raise ValueError("its layers and weights must have fewer, or shorter, names")
        return texts(attribute, MOST_NAMES)


def _longest_text(path: Path) -> int:
    """Return the bytes that a text of variable length can have at most: such texts lie in HDF5's global heap, in
    collections that begin with GCOL, a version, and their size (HDF5 File Format Specification, III.E)."""
    longest, at = 0, -1
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while (at := content.find(b"GCOL\x01", at + 1)) >= 0:
            longest = max(longest, min(int.from_bytes(content[at + 8 : at + 16], "little"), len(content) - at))
    return longest
