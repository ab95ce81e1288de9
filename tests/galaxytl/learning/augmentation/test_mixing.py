"""Blended images and targets: what the formulas say, whatever the batch, and of train images alone."""

from __future__ import annotations

import numpy as np
import pytest

from galaxytl.learning.augmentation.mixing import BlendedImages, BlendedTargets, OneHot, pairs_of
from galaxytl.learning.augmentation.seen import SeenFrom, seen_in_epochs
from galaxytl.learning.examples import Examples
from galaxytl.trial import SpecError, TrialSpec

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0" * 64, num_classes=4)
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(40) % 4
TRAIN, ROWS = np.arange(0, 40, 2), np.arange(40)


@pytest.mark.parametrize("field", ["mixup", "cutmix"])
def test_blending_is_that_of_keras_s_own_layers(field: str) -> None:
    from keras import layers

    pairs = pairs_of(SPEC.replace(**{field: 1.0}), 2, 40, TRAIN, 8)
    images, targets = BlendedImages(IMAGES, pairs)[ROWS], BlendedTargets(OneHot(LABELS, 4), pairs)[ROWS]
    own = {"permutation_order": pairs.partners, "mix_weight": pairs.shares}
    layer = layers.MixUp() if field == "mixup" else layers.CutMix()
    if pairs.boxes is not None:
        top, bottom, left, right = pairs.boxes.T[:, :, None, None, None]
        y, x = np.arange(8).reshape(1, 8, 1, 1), np.arange(8).reshape(1, 1, 8, 1)
        own["batch_masks"] = (y >= top) & (y < bottom) & (x >= left) & (x < right)
        taken = own["batch_masks"].mean(axis=(1, 2, 3))
        assert np.allclose(1 - taken[TRAIN], pairs.shares[TRAIN])  # the targets' share is the area's
    wanted = np.asarray(layer.transform_images(IMAGES.astype(np.float32), own))
    if field == "mixup":
        assert np.abs(images - wanted).max() <= 0.51
    else:
        assert np.array_equal(images[TRAIN], wanted[TRAIN])
    labels = np.asarray(layer.transform_labels(OneHot(LABELS, 4)[ROWS], own))
    assert np.allclose(targets, labels, atol=1e-6)
    assert np.allclose(targets.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("field", ["mixup", "cutmix"])
@pytest.mark.parametrize("votes", [False, True])
def test_an_epoch_blends_the_train_part_with_itself_whatever_the_batches_and_leads_by_the_larger_share(
    field: str, votes: bool
) -> None:
    spec = SPEC.replace(**{field: 0.4}, targets="votes" if votes else "classes")
    fractions = np.random.default_rng(1).dirichlet(np.ones(4), 40).astype(np.float32) if votes else None
    labels = LABELS if fractions is None else fractions.argmax(axis=1)
    others = np.setdiff1d(ROWS, TRAIN)
    plain = Examples(IMAGES, labels, TRAIN, others, others, fractions)
    examples = seen_in_epochs(plain, spec, SeenFrom(IMAGES, ROWS, lambda images: images))
    assert np.array_equal(examples.targets(others).argmax(axis=1), labels[others])  # (n, C) there too
    seen = examples.in_epoch(1)
    order = np.random.default_rng(2).permutation(TRAIN)
    whole, targets = seen.inputs[order], seen.targets(order)
    assert whole.dtype == np.uint8
    assert np.array_equal(np.concatenate([seen.inputs[order[i : i + 7]] for i in range(0, 20, 7)]), whole)
    assert (targets.shape, targets.dtype) == ((20, 4), np.float32)
    assert np.allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(seen.labels[order], targets.argmax(axis=1))
    pairs = pairs_of(spec, 1, 40, TRAIN, 8)
    assert np.array_equal(np.sort(pairs.partners[TRAIN]), TRAIN)  # each is the partner of one
    assert np.array_equal(pairs.partners[others], others)
    assert not np.array_equal(whole, examples.in_epoch(2).inputs[order])


def test_an_image_is_blended_in_one_way_and_views_are_not_blended() -> None:
    for wrong in ({"cutmix": 0.2}, {"views": 4, "augmentation": True}):
        with pytest.raises(SpecError, match="mixup"):
            SPEC.replace(mixup=0.2, **wrong)
