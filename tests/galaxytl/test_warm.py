"""A worker that has trained other trials before gives what a fresh one gives, and neither compiles nor grows again."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from galaxytl import heads, networks
from galaxytl.trial import COMPLETE, FAILED, TrialResult, TrialSpec
from tests.galaxytl.trials import curves, run, tiny_spec

pytestmark = pytest.mark.slow

MOBILENET: dict[str, Any] = {"backbone": "MobileNet", "preprocessing": "divide_by_255"}
VGG16: dict[str, Any] = {"backbone": "VGG16", "preprocessing": "backbone"}


@pytest.fixture
def fine(galaxies_file: Path) -> TrialSpec:
    """MobileNet with its last block unfrozen; whole batches only, of 28 images and of 12."""
    return tiny_spec(galaxies_file).replace(
        **{**MOBILENET, "unfrozen_blocks": 1, "learning_rate": 1e-4, "batch_size": 4, "num_epochs": 1}
    )


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


CASES: dict[str, dict[str, Any]] = {
    "adam": VGG16,
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    "loss scale": {"precision": "mixed_float16"},
    "two blocks": {"unfrozen_blocks": 2},
    "from scratch": {"unfrozen_blocks": "all"},
    "dropout": {**VGG16, "head_units": 8, "head_dropout": 0.5, "class_weighting": "balanced"},
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_warm_trial_is_a_fresh_one(case: str, fine: TrialSpec, train: Callable[[TrialSpec], TrialResult]) -> None:
    spec = fine.replace(**CASES[case])
    networks.forget()
    fresh = train(spec)
    kept = networks._kept.trained
    other = train(spec.replace(seed=1, learning_rate=1e-2))
    assert other.history[0]["loss"] != pytest.approx(fresh.history[0]["loss"], rel=1e-3)
    warm = train(spec)
    assert networks._kept.trained is kept
    assert_equal(warm, fresh)


def test_a_trial_with_another_network_between_changes_nothing(
    fine: TrialSpec, train: Callable[[TrialSpec], TrialResult]
) -> None:
    first = train(fine)
    train(fine.replace(unfrozen_blocks=2))
    train(fine.replace(unfrozen_blocks=0))
    assert_equal(train(fine), first)


def test_after_a_diverged_trial_the_next_one_is_as_fresh(
    fine: TrialSpec, train: Callable[[TrialSpec], TrialResult], galaxies_file: Path, tmp_path: Path
) -> None:
    fresh = train(fine)
    kept = networks._kept.trained
    assert run(fine.replace(learning_rate=1e38, num_epochs=2), galaxies_file, tmp_path).status == FAILED
    assert networks._kept.trained is kept  # a sweep of learning rates has many of these: no compiling for each
    assert_equal(train(fine), fresh)


def count_traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows whenever Python runs the loss of a network: when a step is traced, and in no step after that."""
    traced: list[str] = []
    right = keras.losses.SparseCategoricalCrossentropy.call

    def call(self: Any, y_true: Any, y_pred: Any) -> Any:
        traced.append("loss")
        return right(self, y_true, y_pred)

    monkeypatch.setattr(keras.losses.SparseCategoricalCrossentropy, "call", call)
    return traced


def test_later_epochs_and_trials_compile_nothing(
    fine: TrialSpec, train: Callable[[TrialSpec], TrialResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.forget()
    traced = count_traces(monkeypatch)
    ragged = fine.replace(batch_size=8)
    train(ragged)
    once = len(traced)
    assert once > 0  # training and evaluation, whole and ragged batches
    train(ragged.replace(num_epochs=3, seed=1, learning_rate=1e-3))
    assert len(traced) == once
    train(ragged.replace(batch_size=7))
    assert len(traced) > once  # it would have been seen


def test_later_groups_of_heads_compile_nothing(galaxies_file: Path, train: Callable[[TrialSpec], TrialResult]) -> None:
    spec = tiny_spec(galaxies_file).replace(num_epochs=1)
    train(spec)
    before = dict(heads.traces)
    train(spec.replace(num_epochs=3, seed=1, learning_rate=0.1, shuffle_seed=2))
    assert dict(heads.traces) == before
    train(spec.replace(batch_size=7))
    assert dict(heads.traces) != before


@pytest.mark.parametrize(("network", "depth"), [(VGG16, 0), (VGG16, 1), (MOBILENET, 0), (MOBILENET, 2)])
def test_a_warm_trial_spends_its_time_in_training(
    network: dict[str, Any], depth: int, fine: TrialSpec, train: Callable[[TrialSpec], TrialResult]
) -> None:
    spec = fine.replace(**network, unfrozen_blocks=depth)
    train(spec)
    warm = [train(spec.replace(learning_rate=rate)).timings for rate in (1e-3, 1e-2, 1e-1)]
    parts = ("train", "features", "evaluate")
    assert min(one["total"] - sum(one.get(part, 0.0) for part in parts) for one in warm) < 0.6  # 0.15 in quiet
    if depth == 0:  # no network computes the test split's logits
        assert min(one["evaluate"] for one in warm) < 0.6


def resident_megabytes() -> float:
    """Memory of this process, without what malloc keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1000


@pytest.mark.parametrize("depth", [0, 1])
def test_memory_is_flat_over_100_trials(depth: int, fine: TrialSpec, train: Callable[[TrialSpec], TrialResult]) -> None:
    spec = fine.replace(unfrozen_blocks=depth, batch_size=28, optimizer="sgd")
    measured = {}
    for number in range(1, 101):
        train(spec.replace(learning_rate=1e-6 * number))
        if number in (20, 100):
            measured[number] = resident_megabytes()
    assert measured[100] - measured[20] < 50


def test_what_a_trial_read_is_let_go_when_it_ends(fine: TrialSpec, train: Callable[[TrialSpec], TrialResult]) -> None:
    """A map that stays open keeps the disk space of activations that were removed to make room."""
    for number in (1, 2, 3):
        train(fine.replace(learning_rate=1e-6 * number))
    gc.collect()
    assert "/features/" not in Path("/proc/self/maps").read_text()
