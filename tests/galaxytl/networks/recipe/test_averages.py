"""Weights that are scored in place of the last ones: of heads and of networks, together and alone, without a break and
with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from galaxytl.learning import heads
from galaxytl.learning.callbacks import Watcher
from galaxytl.learning.examples import epoch_order
from galaxytl.learning.fit_heads import Head, fit_heads
from galaxytl.learning.fit_network import fit
from galaxytl.learning.job import Group, Workplace
from galaxytl.networks import device, warm
from galaxytl.networks.recipe import averages
from galaxytl.results.models import model_name, read_model
from galaxytl.training import train
from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from galaxytl.trial.epochs import best_epoch, scored_epoch
from tests.galaxytl.learning.test_fit_heads import SILENT, fit_alone, make_examples, one_layer
from tests.galaxytl.trials import Stopped, curves, fails_after, tiny_spec, watching

# 44 examples in batches of 8 are 6 steps an epoch, and the validation loss of this rate rises again
BASE = TrialSpec(
    dataset="simulated",
    dataset_fingerprint="0" * 64,
    batch_size=8,
    num_epochs=6,
    validation_fraction=0.2,
    learning_rate=0.1,
)
EMA = BASE.replace(ema_momentum=0.9)
KINDS = {
    "ema": EMA,
    "best": BASE.replace(scored_epoch="best"),
    "stopped": BASE.replace(scored_epoch="best", early_stopping=1, num_epochs=20),
    "mean": BASE.replace(average_epochs=3),
    "ema of the best": EMA.replace(scored_epoch="best", seed=3),
}


def trained_by_keras(spec: TrialSpec) -> list[np.ndarray]:
    """The averages that Keras's own optimizer puts into a network at the end of its training."""
    examples, model = make_examples(), one_layer(spec.replace(ema_momentum=0.0))
    optimizer = keras.optimizers.Adam(spec.learning_rate, use_ema=True, ema_momentum=spec.ema_momentum)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=device.use_xla())
    for number in range(1, spec.num_epochs + 1):
        order = epoch_order(spec, number, examples.train)
        for start in range(0, len(order), spec.batch_size):
            rows = order[start : start + spec.batch_size]
            model.train_on_batch(examples.inputs[rows], examples.labels[rows])
    optimizer.finalize_variable_values(model.trainable_variables)
    return [np.asarray(variable.value) for variable in model.weights]


def assert_scored_alike(found: Head, wanted: Head) -> None:
    assert curves(found.history) == pytest.approx(curves(wanted.history), abs=1e-5)
    assert found.state.keys() == wanted.state.keys()
    for name, value in wanted.scored.items():
        assert found.scored[name] == pytest.approx(value, abs=1e-5)
        assert found.state[name] == pytest.approx(wanted.state[name], abs=1e-5)


def test_the_moving_average_of_heads_is_that_of_keras_and_each_ends_as_alone(tmp_path: Path) -> None:
    """After 204 steps."""
    few = BASE.replace(num_epochs=34, learning_rate=1e-3)
    specs = [few.replace(ema_momentum=momentum, seed=i) for i, momentum in enumerate((0.99, 0.0, 0.5))]
    group = fit_heads(specs, make_examples(), tmp_path, SILENT)
    for head in group:
        assert_scored_alike(head, fit_alone(head.spec, tmp_path))
    assert not any(name.startswith(averages.EMA) for name in group[1].state)
    for head in (group[0], group[2]):
        for found, wanted in zip(heads.weights(head.scored), trained_by_keras(head.spec), strict=True):
            assert found == pytest.approx(wanted, abs=1e-5)
        assert heads.weights(head.scored)[0] != pytest.approx(heads.weights(head.state)[0], abs=1e-4)


@pytest.mark.rest
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_one_layer_is_scored_as_a_head_is_after_a_break_too(kind: str, tmp_path: Path) -> None:
    spec = KINDS[kind]
    head = fit_alone(spec, tmp_path)
    with pytest.raises(Stopped):
        fit(one_layer(spec), spec, make_examples(), tmp_path / "network.npz", fails_after(3, Stopped()))
    model = one_layer(spec)
    history = fit(model, spec, make_examples(), tmp_path / "network.npz", SILENT)
    assert curves(history) == pytest.approx(curves(head.history), abs=1e-5)
    for found, wanted in zip(model.weights, heads.weights(head.scored), strict=True):
        assert np.asarray(found.value) == pytest.approx(wanted, abs=1e-5)


def test_heads_of_all_kinds_share_a_pass_and_go_on_after_a_break(tmp_path: Path) -> None:
    specs = [*KINDS.values(), BASE.replace(seed=1)]
    with pytest.raises(Stopped):
        fit_heads(specs, make_examples(), tmp_path, fails_after(3, Stopped()))
    for head in fit_heads(specs, make_examples(), tmp_path, SILENT):
        assert_scored_alike(head, fit_alone(head.spec, tmp_path))


def epochs_of(spec: TrialSpec, out: Path) -> tuple[Head, list[dict[str, np.ndarray]]]:
    """A head, and its trained arrays after each epoch, before the first among them."""
    states: list[dict[str, np.ndarray]] = []

    def records(number: int, state: Any) -> list[Any]:
        states.append({name: np.array(state[name]) for name in heads.TRAINED if name in state})
        return []

    (head,) = fit_heads([spec], make_examples(), out, watching(records=records))
    return head, states


def test_what_is_scored_is_the_best_epoch_and_patience_ends_the_training(tmp_path: Path) -> None:
    head, states = epochs_of(KINDS["stopped"], tmp_path)
    assert len(head.history) < 20
    number = scored_epoch(head.spec, head.history)
    assert number == best_epoch(head.history) == len(head.history) - 1
    assert head.scored["weights"] == pytest.approx(states[number]["weights"], abs=0)


def test_what_is_scored_is_the_mean_of_the_last_epochs(tmp_path: Path) -> None:
    head, states = epochs_of(KINDS["mean"], tmp_path)
    for name in ("weights", "bias"):
        assert head.scored[name] == pytest.approx(np.mean([s[name] for s in states[-3:]], axis=0), abs=1e-6)
    (one, last) = epochs_of(BASE.replace(average_epochs=1), tmp_path)
    assert np.array_equal(one.scored["weights"], last[-1]["weights"])


# Rows


def trained(spec: TrialSpec, data: Path, out: Path, watcher: Watcher | None = None) -> TrialResult:
    stored = (int(spec.unfrozen_blocks),)
    return next(train(Group((spec,), stored), Workplace(str(data), out, most_models=None), watcher))


@pytest.mark.usefixtures("toy_backbone")
@pytest.mark.parametrize("blocks", [0, 1])
def test_scores_and_row_are_of_the_best_epoch(blocks: int, galaxies_file: Path, tmp_path: Path) -> None:
    spec = tiny_spec(galaxies_file).replace(
        **{"unfrozen_blocks": blocks, "validation_fraction": 0.4, "scored_on": "validation"},
        **{"scored_epoch": "best", "early_stopping": 1, "num_epochs": 12, "learning_rate": 0.03 if blocks else 0.1},
    )
    row = trained(spec, galaxies_file, tmp_path)
    assert (row.status, row.message, len(row.history) < 12) == (COMPLETE, "", True)
    assert row.epoch_scored == best_epoch(row.history) == len(row.history) - 1
    best = row.history[row.epoch_scored - 1]
    assert row.metrics["loss"] == pytest.approx(best["val_loss"], rel=1e-4)
    assert row.metrics["loss"] < row.history[-1]["val_loss"]


@pytest.mark.usefixtures("toy_backbone")
@pytest.mark.parametrize("field", ["average_epochs", "ema_momentum"])
def test_the_weights_of_a_network_that_are_kept_are_the_average(
    field: str, galaxies_file: Path, tmp_path: Path
) -> None:
    """Of a block with BatchNorm, whose running statistics are averaged over epochs, and are no part of the moving
    average."""
    spec = tiny_spec(galaxies_file).replace(unfrozen_blocks=1, num_epochs=3, **{field: 2 if "epochs" in field else 0.9})
    states: list[list[np.ndarray]] = []

    def records(number: int, model: Any) -> list[Any]:
        states.append([np.array(v.value) for v in warm.trained_variables(model)])
        return []

    result = trained(spec, galaxies_file, tmp_path, watching(records=records))
    kept = read_model(tmp_path / model_name(spec), spec)
    network = warm._cache.network
    assert network is not None
    names = sorted(kept, key=lambda name: (name.startswith(warm.HEAD), int(name.rpartition(".")[2])))
    assert len(states[-1]) == len(names) == 8 + 2
    own = {name: np.mean([s[i] for s in states[-2:]], axis=0) for i, name in enumerate(names)}
    if field == "average_epochs":
        assert all(kept[name] == pytest.approx(own[name], abs=1e-6) for name in names)
    else:
        last = dict(zip(names, states[-1], strict=True))
        differs = {name for name in names if not np.array_equal(kept[name], last[name])}
        assert len(differs) == 8  # not the running mean and variance
    assert result.epoch_scored == 0
