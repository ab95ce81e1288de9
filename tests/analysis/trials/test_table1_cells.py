"""Which trial fills which cell, and that no average mixes what differs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from analysis.trials.load import AnalysisError, Trials
from analysis.trials.paper import TABLE_1
from analysis.trials.table1_cells import PaperGrid, Score, fill_cells, paper_cell
from galaxytl.trial import FAILED, TrialResult, TrialSpec
from tests.analysis.fakes import make_result, make_spec

TWO = ("VGG16", "MobileNet")
STAND_IN: dict[str, Any] = {"weights": "random", "weights_fingerprint": "", "dataset": "simulated"}


def grid_of(*results: TrialResult) -> PaperGrid:
    return fill_cells(Trials(results))


def stand_in(**changes: Any) -> TrialSpec:
    """Random weights where ImageNet weights were asked for."""
    return make_spec(**{**STAND_IN, **changes})


def lacks_weights(seed: int = 0, **changes: Any) -> TrialResult:
    spec = make_spec(weights_fingerprint="", seed=seed, **changes)
    return make_result(spec, status=FAILED, message="weights not found", metrics={}, confusion=(), history=())


def test_each_trial_of_the_paper_has_its_cell() -> None:
    assert [paper_cell(make_spec(cell.backbone, cell.imagenet)) for cell in TABLE_1] == list(TABLE_1)


@pytest.mark.parametrize(
    "spec",
    [make_spec(unfrozen_blocks="all"), make_spec("MobileNet", "OFF", unfrozen_blocks=0), make_spec("EfficientNetB0")],
    ids=["fine-tuned", "random and frozen", "another backbone"],
)
def test_other_trials_have_none_and_may_have_other_settings(spec: TrialSpec) -> None:
    other = make_result(spec.replace(learning_rate=1e-4))
    grid = grid_of(make_result(), other)
    assert paper_cell(spec) is None
    assert (len(grid.results), grid.outside) == (1, (other,))


def test_stand_in_weights_fill_the_on_row_and_say_so() -> None:
    cell = grid_of(make_result(stand_in())).cell("MobileNet", "ON")
    assert cell.title == "MobileNet, ImageNet ON*"
    assert cell.weights_label == "random (ImageNet weights not found)"


def test_score_is_mean_and_sample_deviation() -> None:
    results = [make_result(make_spec(seed=seed), accuracy=a) for seed, a in enumerate((0.5, 0.6, 0.7))]

    score = grid_of(*results).cell("MobileNet", "ON").score("accuracy")

    assert score.mean == pytest.approx(0.6)
    assert score.std == pytest.approx(0.1)  # sqrt((0.01 + 0 + 0.01) / 2)
    assert (score.n, str(score)) == (3, "0.600±0.100")
    assert (str(Score.of([0.25])), str(Score.of([0.25, math.nan]))) == ("0.250", "NaN")


def test_failed_seeds_are_counted_and_not_averaged() -> None:
    results = [make_result(make_spec(seed=seed), accuracy=0.4 + 0.2 * seed) for seed in (0, 1)]
    results.append(make_result(make_spec(seed=2), accuracy=0.0, status=FAILED, message="out of\nmemory"))

    cell = grid_of(*results).cell("MobileNet", "ON")

    assert cell.status == "COMPLETE"
    assert cell.seeds == "2 of 3"
    assert cell.message == r"out of\nmemory"
    assert str(cell.score("accuracy")) == "0.500±0.141"


def test_empty_and_failed_cells_have_no_score() -> None:
    grid = grid_of(make_result(make_spec("VGG16", "OFF"), status=FAILED, message="diverged"))
    assert (grid.cell("VGG16", "OFF").status, grid.cell("VGG16", "OFF").score("accuracy")) == ("FAILED", None)
    assert (grid.cell("VGG16", "ON").status, grid.cell("VGG16", "ON").message) == ("MISSING", "")


@pytest.mark.parametrize(
    ("field", "values"), [("learning_rate", (1e-3, 1e-4)), ("num_epochs", (20, 50)), ("shuffle_seed", (0, 1))]
)
def test_settings_that_differ_are_refused_and_named(field: str, values: tuple[Any, Any]) -> None:
    specs = [make_spec(backbone, "ON", **{field: value}) for backbone, value in zip(TWO, values, strict=True)]
    with pytest.raises(AnalysisError, match=rf"{field}: {values[0]} \(1 trial\), {values[1]}.*--where {field}="):
        grid_of(*(make_result(spec) for spec in specs))


def test_two_weights_files_in_one_cell_are_refused() -> None:
    specs = [make_spec(weights_fingerprint=mark) for mark in ("aaaa", "bbbb")]
    with pytest.raises(AnalysisError, match=r"aaaa \(1 trial\), bbbb \(1 trial\).*--where weights_fingerprint="):
        grid_of(*(make_result(spec) for spec in specs))


def test_a_trial_that_lacked_weights_counts_until_its_seed_is_complete() -> None:
    grid = grid_of(lacks_weights(seed=1), lacks_weights(), make_result())
    cell = grid.cell("MobileNet", "ON")

    assert (cell.seeds, cell.message) == ("1 of 2", "weights not found")
    assert len(grid.problems) == 1
    assert "its weights were not found" in grid.problems[0]


def test_true_weights_supersede_stand_ins_and_these_a_trial_that_lacked_weights() -> None:
    true = make_result(make_spec(dataset="simulated", seed=1), accuracy=0.8)
    substituted = make_result(stand_in(seed=0), accuracy=0.2)

    cell = grid_of(substituted, true).cell("MobileNet", "ON")
    assert cell.results == (true,)
    assert not cell.is_substituted

    cell = grid_of(lacks_weights(dataset="simulated"), substituted).cell("MobileNet", "ON")
    assert (cell.seeds, cell.is_substituted) == ("1", True)
