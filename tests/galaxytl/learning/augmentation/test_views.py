"""Views that are stored: drawn as an epoch's images are, from the same eight symmetries where there are eight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from galaxytl.data import Splits
from galaxytl.learning.augmentation.symmetries import turn
from galaxytl.learning.augmentation.views import ViewedImages, drawn_views, view_of_epoch, view_rows
from galaxytl.trial import COMPLETE, SpecError, TrialSpec
from tests.galaxytl.trials import curves, run, tiny_spec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0" * 64, augmentation=True, views=8)
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 3)).astype(np.uint8)
SPLITS = Splits(np.array([1, 2, 5, 9]), np.array([4]), np.array([3, 20]))


def test_places_are_every_image_as_it_is_and_the_views_of_the_train_part() -> None:
    rows = view_rows(SPEC.replace(views=2), SPLITS)
    plain, views = {3, 6, 9, 12, 15, 27, 60}, {4, 5, 7, 8, 16, 17, 28, 29}
    assert rows.tolist() == sorted(plain | views)
    assert view_rows(SPEC.replace(views=0), SPLITS).tolist() == SPLITS.all().tolist()
    seen = ViewedImages(IMAGES, SPEC.replace(views=2))
    assert seen.shape == (90, 6, 6, 3)
    assert np.array_equal(seen[np.arange(0, 90, 3)], IMAGES)


def test_folds_share_the_views_of_all_images() -> None:
    first, second = (SPEC.replace(num_folds=2, fold=fold) for fold in range(2))
    other = Splits(SPLITS.test, SPLITS.validation, SPLITS.train)
    assert np.array_equal(view_rows(first, SPLITS), view_rows(second, other))
    assert first.backbone_key == second.backbone_key != SPEC.backbone_key
    assert SPEC.replace(split_seed=1).backbone_key != SPEC.backbone_key


def test_eight_views_are_the_eight_symmetries_and_an_epoch_draws_each_equally_often() -> None:
    seen = ViewedImages(IMAGES, SPEC)
    for way in range(8):
        assert np.array_equal(seen[np.arange(30) * 9 + 1 + way], turn(IMAGES, way))
    counts = np.bincount(view_of_epoch(SPEC, 1, 8000), minlength=8)
    assert (counts.min() > 880, counts.max() < 1120) == (True, True)  # 1000 expected, 30 the standard deviation
    with pytest.raises(SpecError, match="augmentation alone has eight views"):
        SPEC.replace(views=9)
    SPEC.replace(views=9, shift=0.1)


def test_views_depend_on_the_shuffle_seed_and_the_row_and_no_two_are_alike() -> None:
    spec = SPEC.replace(views=4, zoom=0.2)
    places = np.arange(150)
    found = ViewedImages(IMAGES, spec)[places]
    order = np.random.default_rng(3).permutation(places)
    assert np.array_equal(ViewedImages(IMAGES, spec.replace(seed=9, batch_size=3))[order], found[order])
    assert not np.array_equal(ViewedImages(IMAGES, spec.replace(shuffle_seed=1))[places], found)
    alone = ViewedImages(IMAGES, SPEC.replace(views=4))[places].reshape(30, 5, -1)
    assert all(len({view.tobytes() for view in views[1:]}) == 4 for views in alone)


def test_an_epoch_reads_the_same_view_wherever_it_lies_and_what_is_watched_as_it_is() -> None:
    spec = SPEC.replace(views=3)
    rows, every, seen = view_rows(spec, SPLITS), np.arange(120), ViewedImages(IMAGES, spec)
    stored, live = seen[rows], seen
    for number in (1, 2):
        chosen = view_of_epoch(spec, number, 30)
        of_stored = drawn_views(stored, spec, number, rows, 30)
        of_live = drawn_views(live, spec, number, every, 30)
        wanted = seen[SPLITS.train * 4 + 1 + chosen[SPLITS.train]]
        assert np.array_equal(of_stored[np.searchsorted(rows, SPLITS.train * 4)], wanted)
        assert np.array_equal(of_live[SPLITS.train * 4], wanted)
        assert np.array_equal(of_stored[np.searchsorted(rows, SPLITS.test * 4)], IMAGES[SPLITS.test])


@pytest.mark.usefixtures("toy_backbone")
@pytest.mark.parametrize("depth", [0, 1])
def test_stored_views_train_as_views_that_are_made_in_each_epoch(
    depth: int, galaxies_file: Path, tmp_path: Path
) -> None:
    spec = tiny_spec(galaxies_file).replace(learning_rate=1e-2, unfrozen_blocks=depth, num_epochs=3)
    spec = spec.replace(augmentation=True, shift=0.1, views=3)
    stored = run(spec, galaxies_file, tmp_path / "stored", stored=(2, depth))
    live = run(spec, galaxies_file, tmp_path / "live", stored=())
    assert (stored.status, live.status) == (COMPLETE, COMPLETE), stored.message + live.message
    assert curves(stored.history) == pytest.approx(curves(live.history), rel=1e-5, abs=1e-5)
    assert stored.metrics["loss"] == pytest.approx(live.metrics["loss"], rel=1e-5)
    assert stored.multiply_adds["train"] < live.multiply_adds["train"]
    plain = run(spec.replace(views=0, shift=0.0, augmentation=False), galaxies_file, tmp_path / "plain")
    assert plain.history[-1]["loss"] != pytest.approx(stored.history[-1]["loss"], rel=1e-4)  # the tolerance tells
