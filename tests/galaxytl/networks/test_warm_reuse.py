"""A worker that has trained other trials before gives what a fresh one gives, and neither compiles nor grows again.

Networks of three blocks are compiled here: what a compiled network keeps, nothing less would show."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from galaxytl.learning import heads
from galaxytl.networks import device, warm
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from tests.galaxytl.trials import curves, run, run_all, tiny_spec

pytestmark = pytest.mark.usefixtures("toy_backbone")

ROUNDS, TRIALS, WARM_UP = 20, 10, 6
"""200 trials; in the first rounds libraries are loaded, and pools of memory filled."""
MOST_MEGABYTES = 15.0


@pytest.fixture
def fine(galaxies_file: Path) -> TrialSpec:
    """The last block is unfrozen; ragged batches."""
    return tiny_spec(galaxies_file).replace(unfrozen_blocks=1, num_epochs=1)


@pytest.fixture
def train(galaxies_file: Path, tmp_path: Path) -> Callable[[TrialSpec], TrialResult]:
    """Train one trial, never from a checkpoint."""
    count = iter(range(1000))

    def train_one(spec: TrialSpec) -> TrialResult:
        result = run(spec, galaxies_file, tmp_path / str(next(count)))
        assert result.status == COMPLETE, result.message
        return result

    return train_one


def assert_equal(found: TrialResult, wanted: TrialResult) -> None:
    assert curves(found.history) == pytest.approx(curves(wanted.history), rel=1e-5, abs=1e-6)
    assert found.metrics["loss"] == pytest.approx(wanted.metrics["loss"], rel=1e-5)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows whenever Python runs the loss of a network: when a step is traced, and in no step after that."""
    calls: list[str] = []
    right = keras.losses.SparseCategoricalCrossentropy.call

    def call(self: Any, y_true: Any, y_pred: Any) -> Any:
        calls.append("loss")
        return right(self, y_true, y_pred)

    monkeypatch.setattr(keras.losses.SparseCategoricalCrossentropy, "call", call)
    return calls


DROPOUT: dict[str, Any] = {"head_units": 8, "head_dropout": 0.5, "class_weighting": "balanced", "ema_momentum": 0.5}
MOMENTUM = {"unfrozen_blocks": "all", "optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01}
LOSS_SCALE = {"unfrozen_blocks": "all", "precision": "mixed_float16", "ema_momentum": 0.5}
MOBILENET = {"backbone": "MobileNet", "preprocessing": "divide_by_255", "unfrozen_blocks": 2, "learning_rate": 1e-4}


@pytest.mark.parametrize(
    "settings",
    [DROPOUT, *(pytest.param(settings, marks=pytest.mark.rest) for settings in (MOMENTUM, LOSS_SCALE, MOBILENET))],
    ids=["dropout", "momentum", "loss scale", "MobileNet"],
)
def test_a_warm_trial_is_a_fresh_one_and_compiles_nothing(
    settings: dict[str, Any], fine: TrialSpec, train: Callable[[TrialSpec], TrialResult], traced: list[str]
) -> None:
    spec = fine.replace(**settings)
    warm.forget()
    fresh = train(spec)
    kept, once = warm._cache.trainable, len(traced)
    assert once > 0  # training and evaluation, whole and ragged batches
    assert once == 2 or device.backend() == "jax"  # which traces a ragged batch too
    other = train(spec.replace(seed=1, learning_rate=1e-2, num_epochs=2))
    assert other.history[0]["loss"] != pytest.approx(fresh.history[0]["loss"], rel=1e-3)
    assert_equal(train(spec), fresh)
    assert warm._cache.trainable is kept
    assert len(traced) == once


def test_after_a_diverged_trial_the_next_one_is_as_fresh(
    fine: TrialSpec, train: Callable[[TrialSpec], TrialResult], galaxies_file: Path, tmp_path: Path
) -> None:
    fine = fine.replace(**DROPOUT)  # which the test before has compiled
    fresh, kept = train(fine), warm._cache.trainable
    wild = run(fine.replace(learning_rate=1e38, num_epochs=2), galaxies_file, tmp_path)
    assert wild.status == FAILED
    assert wild.message.startswith("diverged: the loss became ")
    assert warm._cache.trainable is kept  # a sweep of learning rates has many of these: no compiling for each
    assert_equal(train(fine), fresh)
    # What they read is let go: an open map keeps the disk space of activations that were removed to make room.
    gc.collect()
    assert "/features/" not in Path("/proc/self/maps").read_text()


@pytest.mark.rest
def test_a_trial_with_another_network_between_changes_nothing(
    fine: TrialSpec, train: Callable[[TrialSpec], TrialResult]
) -> None:
    first = train(fine)
    train(fine.replace(unfrozen_blocks=2))
    train(fine.replace(unfrozen_blocks=0))
    assert_equal(train(fine), first)


def test_later_groups_of_heads_compile_nothing(galaxies_file: Path, train: Callable[[TrialSpec], TrialResult]) -> None:
    spec = tiny_spec(galaxies_file).replace(num_epochs=1)
    train(spec)
    before = dict(heads.traces)
    train(spec.replace(num_epochs=3, seed=1, learning_rate=0.1, shuffle_seed=2))
    assert dict(heads.traces) == before
    train(spec.replace(batch_size=7))
    assert dict(heads.traces) != before


def resident_megabytes() -> float:
    """Memory of this process, without what malloc keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1000


@pytest.mark.rest
def test_memory_is_flat_over_200_trials(fine: TrialSpec, galaxies_file: Path, tmp_path: Path) -> None:
    """Heads in one pass and trials of blocks, in rounds of ten, of which each compiles another network."""
    measured = []
    for number in range(ROUNDS):
        rates = [1e-6 * (1 + TRIALS * number + i) for i in range(TRIALS)]
        blocks = fine.replace(optimizer="sgd", unfrozen_blocks=1 + number % 2)
        for rate in rates[:2]:
            assert run(blocks.replace(learning_rate=rate), galaxies_file, tmp_path).status == COMPLETE
        heads = [fine.replace(unfrozen_blocks=0, learning_rate=rate) for rate in rates[2:]]
        assert {result.status for result in run_all(heads, galaxies_file, tmp_path)} == {COMPLETE}
        measured.append(round(resident_megabytes(), 1))
    assert measured[-1] - measured[WARM_UP - 1] < MOST_MEGABYTES, measured


def test_a_trial_after_one_of_another_preprocessing_sees_its_own_pixels(
    fine: TrialSpec, train: Callable[[TrialSpec], TrialResult]
) -> None:
    own = fine.replace(unfrozen_blocks="all", preprocessing="divide_by_255")  # reads images: nothing is stored for it
    warm.forget()
    fresh = train(own)
    warm.forget()
    train(own.replace(preprocessing="backbone"))
    assert_equal(train(own), fresh)


@pytest.mark.rest
def test_folds_are_compiled_once(fine: TrialSpec, train: Callable[[TrialSpec], TrialResult], traced: list[str]) -> None:
    first, second = (fine.replace(num_folds=4, fold=fold) for fold in (0, 1))
    warm.forget()
    fresh = train(second)
    warm.forget()
    train(first)
    kept, once = warm._cache.trainable, len(traced)
    assert_equal(train(second), fresh)
    assert warm._cache.trainable is kept
    assert len(traced) == once
