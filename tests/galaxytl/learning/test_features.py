"""Stored activations are what the live network gives; they are computed once, and nothing damaged is read.

Networks are built here, most of them of three blocks: what they give is what is stored."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.learning import features
from galaxytl.learning.features import (
    LiveActivations,
    Source,
    activations_folder,
    batch_size,
    rows_digest,
    stored_activations,
)
from galaxytl.networks import warm
from galaxytl.networks.blocks import cut_tensor
from galaxytl.system import cache
from galaxytl.trial import SPEC_FIELDS, TrialSpec
from tests.galaxytl import asking, toy

pytestmark = pytest.mark.usefixtures("toy_backbone")

BASE = toy.SPEC
ROWS = np.array([0, 1, 2, 3, 5, 8, 13, 21, 34])
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)

KEY_FIELDS = {
    "dataset_fingerprint": "1" * 64,
    "image_size": 64,
    "fit": "crop",
    "preprocessing": "divide_by_255",
    "backbone": "MobileNet",
    "precision": "mixed_bfloat16",
    "weights": "imagenet",
    "seed": 1,  # of random weights
    "weights_fingerprint": "3" * 64,  # where these are random, of the layers of a network of the user's own
    "max_images": 20,
    "views": 4,
}
VIEWS = {"augmentation": True, "views": 4, "shift": 0.2}
VIEW_FIELDS = {
    "augmentation": False,
    "shift": 0.1,
    "zoom": 0.1,
    "brightness": 0.1,
    "views": 8,
    "shuffle_seed": 7,
    "test_fraction": 0.2,
    "validation_fraction": 0.1,
    "stratified": True,
    "split_seed": 1,
    "num_folds": 5,
}
"""Of which the activations of views depend beside KEY_FIELDS."""
OTHER_FIELDS = {
    "dataset": "simulated too",
    "num_classes": 4,  # which the dataset's fingerprint covers, as it does votes
    "targets": "votes",
    "group_by": "field",
    "official_split": "4" * 64,
    "test_fraction": 0.2,
    "validation_fraction": 0.1,
    "stratified": True,
    "group_by_sky": True,
    "groups_fingerprint": "2" * 64,
    "split_seed": 1,
    "scored_on": "validation",
    "augmentation": True,  # such a trial reads no stored activations, unless it has views
    "weights_requested": "imagenet",
    "unfrozen_blocks": 2,
    "unfrozen_batchnorm": "inference",
    "head_units": 7,
    "head_dropout": 0.5,
    "class_weighting": "balanced",
    "optimizer": "sgd",
    "learning_rate": 0.5,
    "momentum": 0.5,
    "weight_decay": 0.5,
    "batch_size": 7,
    "num_epochs": 7,
    "shuffle_seed": 7,
    "num_folds": 5,
    "fold": 1,
    "shift": 0.1,
    "zoom": 0.1,
    "brightness": 0.1,
    "mixup": 0.2,
    "cutmix": 0.2,
    "test_time_augmentation": True,
    "schedule": "linear",
    "warmup_epochs": 0.5,
    "warmup_steps": 3,
    "learning_rate_floor": 0.1,
    "step_epochs": 1.0,
    "step_factor": 0.5,
    "learning_rate_decay": 0.5,
    "unfreeze_stages": "0,1",
    "nesterov": True,
    "clipnorm": 1.0,
    "global_clipnorm": 1.0,
    "clipvalue": 1.0,
    "ema_momentum": 0.9,
    "average_epochs": 2,
    "early_stopping": 2,
    "scored_epoch": "best",
    "label_smoothing": 0.1,
    "focal_gamma": 2.0,
}
NEEDS = {
    "fold": {"num_folds": 2},
    "learning_rate_decay": {"unfrozen_blocks": 1},
    "unfreeze_stages": {"unfrozen_blocks": 1},
    "views": {"augmentation": True},
    "learning_rate_floor": {"schedule": "linear"},
    "step_epochs": {"schedule": "step"},
    "step_factor": {"schedule": "step", "step_epochs": 1.0},
    "nesterov": {"momentum": 0.5},
}
"""What some fields want of others."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Told:
    """A Source for a spec, and what it was told."""

    def __init__(self, spec: TrialSpec, rows: np.ndarray = ROWS) -> None:
        self.progress: list[tuple[int, int]] = []
        self.multiply_adds: list[float] = []
        self.built = 0
        self._spec = spec
        self.source = Source(
            IMAGES, rows, self._network, lambda *done: self.progress.append(done), self.multiply_adds.append
        )

    def _network(self) -> warm.Network:
        self.built += 1
        return network_of(self._spec)


def network_of(spec: TrialSpec) -> warm.Network:
    """With running averages that BatchNorm did not start with, so that to use those of the batch would show."""
    network = warm.backbone(spec, lambda: None)
    rng = np.random.default_rng(0)
    for layer in network.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape) / 100)
            layer.moving_variance.assign(rng.uniform(0.01, 0.1, layer.moving_variance.shape))
    network.holds = None  # whoever comes next gets the weights of its spec
    return network


def live(spec: TrialSpec, rows: np.ndarray, cut: int) -> np.ndarray:
    """What Keras's own model gives, in inference mode, on images preprocessed by Keras's own function."""
    network = network_of(spec)
    pixels = IMAGES[rows].astype(np.float32)
    if spec.preprocessing == "divide_by_255":
        inputs = pixels / 255
    else:
        module = {toy.NAME: toy, "ResNet50": keras.applications.resnet}[spec.backbone]
        inputs = module.preprocess_input(pixels)
    model = keras.Model(network.model.inputs[0], cut_tensor(network.model, cut))
    return np.asarray(model(inputs, training=False))


def stored(spec: TrialSpec, cuts: tuple[int, ...], rows: np.ndarray = ROWS) -> np.ndarray:
    return np.array(stored_activations(spec, cuts, Told(spec, rows).source))  # a copy: some tests damage the file


def folder_of(spec: TrialSpec, rows: np.ndarray, cut: int) -> Path:
    return activations_folder(spec, rows_digest(rows), cut)


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest, in units of the largest value."""
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    assert np.abs(wanted).max() > 0
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize(
    ("backbone", "preprocessing", "middle"),
    [
        (toy.NAME, "backbone", 2),
        pytest.param("MobileNet", "divide_by_255", 4, marks=pytest.mark.rest),
        pytest.param("ResNet50", "backbone", 3, marks=pytest.mark.rest),
    ],
)
def test_stored_is_live(backbone: str, preprocessing: Any, middle: int) -> None:
    spec = BASE.replace(backbone=backbone, preprocessing=preprocessing)
    structure = network_of(spec).structure
    at_middle = stored(spec, (middle,))
    assert at_middle.dtype == np.float32
    assert difference(at_middle, live(spec, ROWS, middle)) < 1e-5
    told = Told(spec)
    from_stored = np.asarray(stored_activations(spec, (middle, 0), told.source))
    assert difference(from_stored, live(spec, ROWS, 0)) < 1e-5
    assert sum(told.multiply_adds) == len(ROWS) * structure.multiply_adds(middle, 0)  # the middle was not computed anew
    other_rows = ROWS + 1
    from_images = stored(spec, (0,), other_rows)
    assert difference(from_images, live(spec, other_rows, 0)) < 1e-5
    assert difference(stored(spec, (len(structure.blocks) - 1, 1, 0), other_rows), from_images) < 1e-5
    assert difference(from_images, from_stored) > 1e-3  # the tolerance tells images apart


@pytest.mark.parametrize(
    ("precision", "epsilon"),
    [("mixed_bfloat16", 2**-8), pytest.param("mixed_float16", 2**-11, marks=pytest.mark.rest)],
)
def test_half_precision_is_stored_as_it_is_computed(precision: Any, epsilon: float, own_cache: Path) -> None:
    spec = BASE.replace(precision=precision)
    exact = live(BASE, ROWS, 0)
    found = stored(spec, (2, 0))
    assert found.dtype.name == precision.removeprefix("mixed_")
    assert difference(found, live(spec, ROWS, 0)) <= 4 * epsilon
    assert difference(found.astype(np.float32), exact) < 60 * epsilon
    (entry,) = (path for path in own_cache.glob("features/*/manifest.json") if json.loads(path.read_text())["cut"] == 0)
    num_bytes = (entry.parent / "activations.npy").stat().st_size
    assert num_bytes == 2 * found.size + 128  # and NumPy's header


def test_computed_once_and_read_from_then_on(own_cache: Path) -> None:
    told, again = Told(BASE), Told(BASE)
    first = stored_activations(BASE, (1,), told.source)
    assert told.progress == [(0, 9), (9, 9)]
    assert told.built == 1
    second = stored_activations(BASE.replace(learning_rate=0.5, unfrozen_blocks=1), (1,), again.source)
    assert again.progress == []
    assert again.multiply_adds == []
    assert again.built == 0
    assert np.array_equal(first, second)
    assert not first.flags.writeable
    assert isinstance(first.base, np.memmap) or isinstance(first, np.memmap)


def test_batches_cover_all_rows_and_the_last_is_nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "batch_size", lambda num_rows, image_size: 4)
    told = Told(BASE)
    by_fours = np.asarray(stored_activations(BASE, (0,), told.source))
    assert told.progress == [(0, 9), (4, 9), (8, 9), (9, 9)]
    assert difference(by_fours, live(BASE, ROWS, 0)) < 1e-5
    monkeypatch.undo()
    for num_rows in (1, 40, 1023, 1025, 17_736):
        size = batch_size(num_rows, 32)
        assert 1 <= size <= 1024
        assert -num_rows % size <= num_rows // size  # fewer than one empty place a batch


def test_every_field_that_activations_depend_on_is_in_their_key() -> None:
    assert KEY_FIELDS.keys() | OTHER_FIELDS.keys() == SPEC_FIELDS.keys()
    key = folder_of(BASE, ROWS, 1)
    rich = BASE.replace(optimizer="sgd", head_units=4, validation_fraction=0.3)  # with it every other field may be set
    assert folder_of(rich, ROWS, 1) == key
    for name, value in KEY_FIELDS.items():
        assert folder_of(rich.replace(**{**NEEDS.get(name, {}), name: value}), ROWS, 1) != key, name
    for name, value in OTHER_FIELDS.items():
        changes = {**NEEDS.get(name, {}), name: value}
        assert folder_of(rich.replace(**changes), ROWS, 1) == key, name
    assert folder_of(BASE, ROWS, 2) != key
    assert folder_of(BASE, ROWS[:-1], 1) != key
    assert folder_of(BASE, ROWS[::-1], 1) != key


def test_every_field_that_views_depend_on_is_in_the_key_of_their_activations() -> None:
    rich = BASE.replace(optimizer="sgd", head_units=4, validation_fraction=0.3, **VIEWS)
    key = folder_of(rich, ROWS, 1)
    for name, value in {**KEY_FIELDS, **VIEW_FIELDS}.items():
        if name != "views" or value != rich.views:
            assert folder_of(rich.replace(**{name: value}), ROWS, 1) != key, name
    apart = {
        "mixup",
        "cutmix",
        "unfreeze_stages",
        "group_by",
        "group_by_sky",
        "groups_fingerprint",
        "official_split",
        "fold",
    }
    for name, value in OTHER_FIELDS.items():
        if name not in apart | VIEW_FIELDS.keys():
            assert folder_of(rich.replace(**{**NEEDS.get(name, {}), name: value}), ROWS, 1) == key, name
    symmetries = rich.replace(views=8, shift=0.0)  # are the same whatever the seed
    assert folder_of(symmetries.replace(shuffle_seed=7), ROWS, 1) == folder_of(symmetries, ROWS, 1)


def test_weights_from_a_file_have_their_fingerprint_and_no_seed_in_the_key() -> None:
    spec = BASE.replace(weights="imagenet", weights_requested="imagenet", weights_fingerprint="a" * 64)
    key = folder_of(spec, ROWS, 1)
    assert folder_of(spec.replace(seed=5), ROWS, 1) == key
    assert folder_of(spec.replace(weights_fingerprint="b" * 64), ROWS, 1) != key


@pytest.mark.parametrize("damage", [lambda file: os.truncate(file, 200), lambda file: os.truncate(file, 0), os.unlink])
def test_a_damaged_file_is_made_anew(damage: Callable[[Path], None]) -> None:
    whole = stored(BASE, (1,))
    damage(folder_of(BASE, ROWS, 1) / "activations.npy")
    told = Told(BASE)
    assert np.array_equal(stored_activations(BASE, (1,), told.source), whole)
    assert told.progress[-1] == (9, 9)


def test_the_manifest_says_what_it_is() -> None:
    stored(BASE, (1,))
    manifest = json.loads((folder_of(BASE, ROWS, 1) / "manifest.json").read_text())
    assert manifest == {
        "what": "activations of ToyNet, 1 blocks before its output",
        "weights": "random",
        "dataset": "simulated",
        "dataset_fingerprint": "0" * 64,
        "image_size": 32,
        "preprocessing": "backbone",
        "precision": "float32",
        "cut": 1,
        "shape": [9, *network_of(BASE).structure.shape_at(1)],
    }


def test_live_activations_are_the_stored_ones() -> None:
    at_cut, output = stored(BASE, (2,)), stored(BASE, (2, 0))
    network, counted = network_of(BASE), []
    computed = LiveActivations(at_cut, network.forward(2, 0), output.shape, output.dtype, 4, counted.append)
    rows = np.array([7, 0, 3, 8, 2, 5])
    assert difference(computed[rows], output[rows]) < 1e-6
    assert counted == [4, 4]
    from_images = LiveActivations(
        IMAGES[ROWS], network.forward(len(network.structure.blocks), 0), output.shape, output.dtype, 8, counted.append
    )
    assert difference(from_images[rows], output[rows]) < 1e-5


def test_the_least_recently_used_activations_make_room(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries of other processes, that have ended: what this one reads is kept as long as it runs."""
    size = 9 * toy.NUM_FEATURES * 4
    for name, used in (("old", 1), ("new", 2)):
        folder = own_cache / "features" / name
        folder.mkdir(parents=True)
        (folder / "activations.npy").write_bytes(b"x" * 2 * size)
        (folder / cache.USED).touch()
        os.utime(folder / cache.USED, (used, used))
    monkeypatch.setenv("GALAXYTL_CACHE_GB", str(4 * size / 1e9 + 1e-6 * 9))  # 9 kB: files take whole blocks
    stored(BASE, (0,))
    found = {entry.name for entry in cache.entries(own_cache)}
    assert found == {"new", folder_of(BASE, ROWS, 0).name}


def test_full_disk_is_an_error_and_leaves_nothing(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXYTL_CACHE_DIR", str(small_disk))
    early = len(network_of(BASE).structure.blocks) - 1  # 16 x 16 x 8 numbers an image, 300 of them: 2.5 MB
    with pytest.raises(OSError, match="No space left on device"):
        stored(BASE, (early,), np.arange(300) % 40)
    assert cache.entries(small_disk) == []
    assert not list(small_disk.glob("features/.*.building-*"))
    assert stored(BASE, (0,)).shape == (9, 4, 4, 8)


def test_who_asks_at_the_same_time_computes_once_and_a_killed_builder_leaves_nothing(own_cache: Path) -> None:
    """Of processes: only a process can be killed."""
    killed = asking.start(600)
    assert killed.stdout
    assert [killed.stdout.readline().split()[0] for _ in range(2)] == ["ready", "at"]  # it has the lock, and builds
    others = [asking.start(0.2) for _ in range(2)]
    for other in others:
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
    assert len(list(own_cache.glob("features/.*.building-*"))) == 1
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    said = [other.communicate(timeout=300)[0].split("\n")[-2] for other in others]
    assert sorted(said) == ["computed", "read"]
    assert not list(own_cache.glob("features/.*.building-*"))
    heard: list[str] = []
    assert np.array_equal(asking.ask(0, lambda *words: heard.append(words[0])), asking.FOUND)
    assert heard == ["ready", "read"]
