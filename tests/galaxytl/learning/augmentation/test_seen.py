"""The second score is that of the mean over the eight symmetries, and the first stays what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.data import open_dataset, split_indices
from galaxytl.learning.augmentation.symmetries import symmetries
from galaxytl.learning.job import Group, Workplace
from galaxytl.learning.metrics import evaluate, softmax
from galaxytl.networks import warm
from galaxytl.networks.backbones import build_head
from galaxytl.results.models import model_name, read_model
from galaxytl.training import train
from galaxytl.trial import COMPLETE, TrialSpec
from tests.galaxytl import toy
from tests.galaxytl.trials import curves, run, tiny_spec

pytestmark = pytest.mark.usefixtures("toy_backbone")


def mean_scores(spec: TrialSpec, data: Path, out: Path) -> dict[str, float]:
    """Those of the trial's weights, by its network on each of the turned images."""
    dataset = open_dataset(str(data))
    rows = split_indices(dataset.labels, spec).test
    images = dataset.resized(32, lambda *said: None, "resize").images[rows]
    warm.forget()
    network = warm.backbone(spec, lambda: None)
    features = keras.Input(network.structure.shape_at(0))
    model = keras.Model(features, build_head(spec, features.shape[1:])(features))
    network.set_trained(model.layers[-1], spec, read_model(out / model_name(spec), spec))
    forward = network.forward(toy.NUM_BLOCKS, 0)
    every = [softmax(np.asarray(model(forward(np.ascontiguousarray(seen))))) for seen in symmetries(images)]
    warm.forget()
    return evaluate(dataset.labels[rows], np.mean(every, axis=0))[0]


@pytest.mark.parametrize(("depth", "stored"), [(0, (0,)), pytest.param(1, (2,), marks=pytest.mark.rest), ("all", ())])
def test_the_second_score_is_of_the_mean_over_the_symmetries(
    depth: Any, stored: tuple[int, ...], galaxies_file: Path, tmp_path: Path
) -> None:
    plain = tiny_spec(galaxies_file).replace(unfrozen_blocks=depth, learning_rate=1e-2)
    spec = plain.replace(test_time_augmentation=True)
    work = Workplace(str(galaxies_file), tmp_path, most_models=None)
    specs = (spec, plain) if depth == 0 else (spec,)
    found = {result.spec: result for result in train(Group(specs, stored), work)}
    assert found[spec].status == COMPLETE, found[spec].message
    metrics = found[spec].metrics
    wanted = mean_scores(spec, galaxies_file, tmp_path)
    second = {name.removeprefix("tta_"): value for name, value in metrics.items() if name.startswith("tta_")}
    assert second == pytest.approx(wanted, rel=1e-5)
    assert second["loss"] != pytest.approx(metrics["loss"], rel=1e-4)
    # Of 12 images in 8 symmetries Keras reads the first batch of 8 twice; it was three times all 12
    whole = 8 * 3 * 8 * (toy.MULTIPLY_ADDS + toy.NUM_FEATURES * 10)
    assert depth == 0 or sum(result.multiply_adds["evaluate"] for result in found.values()) <= whole
    if depth == 0:  # who does not ask shares the pass, and has no second score
        assert metrics == pytest.approx({**found[plain].metrics, **{f"tta_{n}": v for n, v in second.items()}})
        assert not any(name.startswith("tta_") for name in found[plain].metrics)
        assert sum(result.multiply_adds["evaluate"] for result in found.values()) > 7 * 12 * toy.MULTIPLY_ADDS


@pytest.mark.parametrize("depth", [0, 1])
def test_blended_images_train_heads_and_networks(depth: int, galaxies_file: Path, tmp_path: Path) -> None:
    """And what is watched stays what it is: a loss that only the training sees as another."""
    plain = tiny_spec(galaxies_file).replace(unfrozen_blocks=depth, num_epochs=1, learning_rate=1e-9)
    of_plain = run(plain, galaxies_file, tmp_path, stored=())
    blended = run(plain.replace(mixup=1.0), galaxies_file, tmp_path, stored=())
    assert blended.status == COMPLETE, blended.message
    before, after = curves(of_plain.history)[0], curves(blended.history)[0]
    assert after[2:] == pytest.approx(before[2:], rel=1e-3)
    assert after[0] != pytest.approx(before[0], rel=1e-4)
    assert blended.metrics["accuracy"] == of_plain.metrics["accuracy"]
