"""Gradual unfreezing: what each stage trains, from what, and that a kill in any of them changes nothing.

Networks of three blocks are compiled here, one for each stage: what Keras trains, only Keras can show."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from galaxytl.data import open_dataset
from galaxytl.learning import network_run
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.job import Group, Workplace
from galaxytl.networks import exported, warm
from galaxytl.results.checkpoints import checkpoint_path
from galaxytl.results.models import model_name, read_model
from galaxytl.training import train
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from tests.galaxytl import toy
from tests.galaxytl.trials import Stopped, curves, fails_after, run, tiny_spec, watching

pytestmark = pytest.mark.usefixtures("toy_backbone")

STORED = (1, 0)
"""What the first two of the three stages read; the last reads images."""


@pytest.fixture(scope="module")
def spec(galaxies_file: Path) -> TrialSpec:
    """Its stages have 1, 2 and 2 epochs."""
    stages = {"unfrozen_blocks": "all", "unfreeze_stages": "0,1,all", "num_epochs": 5}
    return tiny_spec(galaxies_file).replace(**stages, head_units=4, head_dropout=0.3, learning_rate=3e-3)


def trained(
    spec: TrialSpec, data: Path, out: Path, stored: tuple[int, ...] = STORED, **given: Any
) -> tuple[TrialResult, dict[str, np.ndarray]]:
    """Return the row of a trial and its weights."""
    watcher = given.pop("watcher", None) or Watcher()
    (result,) = train(Group((spec,), stored, **given), Workplace(str(data), out, most_models=None), watcher)
    assert result.status == COMPLETE, result.message
    return result, read_model(out / model_name(spec), spec)


@pytest.fixture(scope="module")
def whole(
    spec: TrialSpec, galaxies_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrialResult, dict[str, np.ndarray], Path]:
    """A trial that nothing stops."""
    out = tmp_path_factory.mktemp("whole")
    return *trained(spec, galaxies_file, out), out


def weights_now(model: Any) -> dict[str, np.ndarray]:
    """All of the backbone, the head, and what the optimizer has."""
    network = warm._cache.network
    assert network is not None
    named = {f"{layer.name}/{v.name}": v for layer in network.model.layers for v in layer.weights}
    named |= {f"head/{i}": v for i, v in enumerate(model.get_layer("head").weights)}
    named |= {f"optimizer/{i}": v for i, v in enumerate(model.optimizer.variables)}
    return {name: np.array(np.asarray(variable.value)) for name, variable in named.items()}


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    """Return the layers of which any weight differs."""
    return {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])} - {"optimizer"}


def test_each_stage_trains_its_blocks_from_the_weights_of_the_one_before(
    spec: TrialSpec, galaxies_file: Path, tmp_path: Path, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
    fit = network_run.fit

    def spied(model: Any, *rest: Any) -> Any:
        before = weights_now(model)
        history = fit(model, *rest)
        snapshots.append((before, weights_now(model)))
        return history

    lengths: list[int] = []
    monkeypatch.setattr(network_run, "fit", spied)
    asked = watching(ends=lambda histories: lengths.extend(map(len, histories.values())) or {})
    result, _ = trained(spec, galaxies_file, tmp_path, diagnostics=True, watcher=asked)
    (start, first), (_, second), (_, third) = snapshots
    assert moved(start, first) == {"head"}
    of_block3 = {"block3_conv1", "block3_conv2", "block3_bn"}
    assert moved(first, second) == {"head"} | of_block3
    assert moved(second, third) > {"head", "block1_conv", "block1_bn", "block2_depthwise"} | of_block3
    for (_, ended), (begun, _) in itertools.pairwise(snapshots):
        assert not moved(ended, begun)
        optimizer = [value for name, value in begun.items() if name.startswith("optimizer/") and value.ndim]
        assert optimizer
        assert not any(value.any() for value in optimizer)
        assert begun["optimizer/0"] == 0  # its steps
    assert lengths == [0, 1, 2, 3, 4]  # an end is asked about as of any trial
    # Records change nothing, and are of the layers that are trained.
    assert np.array_equal(curves(result.history), curves(whole[0].history))
    layers = [set(record["gradient_norms"]) for record in result.diagnostics]
    assert [record["epoch"] for record in result.diagnostics] == [0, 1, 2, 3, 4, 5]
    assert layers[0] == layers[1] == {"hidden", "output"}
    assert layers[2] == layers[3] == layers[0] | {"block3_conv1", "block3_conv2"}
    assert layers[5] > layers[3] | {"block1_conv", "block2_depthwise"}


def test_a_kill_in_any_stage_or_between_two_changes_no_weight(
    spec: TrialSpec, galaxies_file: Path, tmp_path: Path, whole: Any
) -> None:
    for epoch in (1, 2, 4):  # the end of the first stage, and amid the second and the third
        with pytest.raises(Stopped):
            trained(spec, galaxies_file, tmp_path, watcher=fails_after(epoch, Stopped()))
    result, weights = trained(spec, galaxies_file, tmp_path)
    assert curves(result.history) == pytest.approx(curves(whole[0].history), rel=1e-5, abs=1e-6)
    assert result.resumed_after == (1, 2, 4)
    assert weights.keys() == whole[1].keys()
    for name, value in weights.items():
        assert value == pytest.approx(whole[1][name], rel=1e-5, abs=1e-6), name
    kept = {id(compiled.model) for compiled in warm._cache.compiled.values()}
    checkpoint = checkpoint_path(tmp_path, spec)
    damaged = checkpoint.read_bytes()[:-2000]
    checkpoint.write_bytes(damaged)
    again, _ = trained(spec, galaxies_file, tmp_path)
    assert curves(again.history) == pytest.approx(curves(whole[0].history), rel=1e-5, abs=1e-6)
    assert again.resumed_after == ()
    assert len(kept) == 3
    assert {id(compiled.model) for compiled in warm._cache.compiled.values()} == kept  # nothing is compiled twice


@pytest.mark.rest
def test_what_is_stored_is_not_computed_again_and_changes_no_result(
    spec: TrialSpec, galaxies_file: Path, tmp_path: Path, whole: Any
) -> None:
    live, _ = trained(spec, galaxies_file, tmp_path / "live", stored=())
    assert curves(live.history) == pytest.approx(curves(whole[0].history), rel=1e-4, abs=1e-4)
    assert live.num_parameters == whole[0].num_parameters
    assert live.num_parameters["trainable"] > toy.NUM_FEATURES * 4 + 4 + 50  # what the last stage trains
    network = warm._cache.network
    assert network is not None
    cost, head = network.structure.multiply_adds, toy.NUM_FEATURES * 4 + 4 * 10
    trains = [(1, head), (2, cost(1, 0) + head), (2, cost(3, 0) + head)]  # epochs; 28 images are trained on, 12 watched
    stored = sum(epochs * (28 * 3 + 12) * own for epochs, own in trains)
    frozen = 40 * (cost(3, 0) + 2 * cost(3, 1))
    assert whole[0].multiply_adds["train"] == pytest.approx(stored)
    assert live.multiply_adds["train"] == pytest.approx(stored + frozen)


def test_the_first_stage_is_a_head_alone(spec: TrialSpec, galaxies_file: Path, tmp_path: Path) -> None:
    """Keras trains it here, by itself; heads elsewhere are fused."""
    plain = {"head_units": 0, "head_dropout": 0.0, "unfrozen_blocks": 1, "unfreeze_stages": "0,1", "num_epochs": 4}
    staged = run(spec.replace(**plain), galaxies_file, tmp_path / "staged", stored=STORED)
    alone = spec.replace(**{**plain, "unfrozen_blocks": 0, "unfreeze_stages": "", "num_epochs": 2})
    head = run(alone, galaxies_file, tmp_path / "head")
    assert staged.status == head.status == COMPLETE, staged.message
    assert curves(staged.history[:2]) == pytest.approx(curves(head.history), rel=1e-4, abs=1e-5)


def test_the_weights_that_are_kept_are_of_all_stages(spec: TrialSpec, galaxies_file: Path, whole: Any) -> None:
    """What is exported says what the trial said."""
    result, weights, out = whole
    model = exported.assemble(spec, weights, lambda: None)
    table = pq.read_table(out / result.probabilities).to_pydict()
    images = open_dataset(str(galaxies_file)).resized(32, lambda *_: None, spec.fit).images[table["row"]]
    said = np.array([table[f"p{i}"] for i in range(10)]).T
    assert np.asarray(model.predict_on_batch(np.asarray(images))) == pytest.approx(said, abs=1e-4)
