"""What workload `search` of bench_sweep.py concludes, on trials whose conclusion is known."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.sweeps import searched
from benchmarks.sweeps.report import describe
from galaxytl.trial import COMPLETE, PRUNED, TrialResult, TrialSpec

GRID = {("VGG16", 0, 0.1): 0.50, ("VGG16", 1, 0.1): 0.75, ("VGG16", 1, 0.2): 0.70}


def row(scored_on: str = "validation", epochs: int = 1, **changes: Any) -> TrialResult:
    parts = {"validation_fraction": 0.1, "scored_on": scored_on, "backbone": "VGG16", "unfrozen_blocks": 1}
    spec = TrialSpec(dataset="", dataset_fingerprint="", num_epochs=9, learning_rate=0.2, **parts)
    history = tuple({"epoch": float(number + 1)} for number in range(epochs))
    return TrialResult(spec=spec, history=history, **{"status": COMPLETE, "metrics": {"accuracy": 0.6}, **changes})


def test_a_search_has_chosen_what_it_scores_on_the_test_part() -> None:
    rows = [row(epochs=3, status=PRUNED, metrics={}), row(epochs=9), row("test", epochs=9)]
    assert searched.choice_of(rows) == searched.Choice(("VGG16", 1, 0.2), 0.6, tried=2, epochs=12)
    with pytest.raises(ValueError, match="chose none"):
        searched.choice_of(rows[:2])


def test_nine_of_ten_searches_must_choose_within_the_interval_of_the_best() -> None:
    places = [("VGG16", 1, 0.2), ("VGG16", 0, 0.1), ("another", 0, 1.0)]
    good, bad, unknown = (searched.Choice(place, 0.6, 3, 12) for place in places)
    found = searched.judge([good] * 9 + [bad], GRID, num_test=100)
    assert (found["best"], found["held"], found["agrees"]) == (("VGG16", 1, 0.1), 9, True)  # 0.70 of 0.66 to 0.82
    assert not searched.judge([good] * 8 + [bad, unknown], GRID, num_test=100)["agrees"]
    work = {"workload": "search", "searches": 10, "backbones": ["VGG16"], "unfrozen_blocks": [0, 1], "num_rates": 2}
    sizes = {"rates": (0.1, 0.2), "image_size": 32, "num_epochs": 9, "num_images": {"train": 9, "test": 100}}
    times = {"seconds": 10.0, "all_seconds": [10.0] * 10, "required": (6, 6), "weights": {"VGG16": "random"}}
    baselines = {"b1": {"seconds": 70.0}, "b2": {"seconds": 50.0}}
    found["accuracy"] |= {"b1": 0.75, "b2": 0.75}
    text = describe({**work, **sizes, **times, **baselines, **found})
    assert "b1           70.0            7.0x        6x     0.750\n" in text
    assert "5.0x        6x     0.750  missed" in text
    assert "within the interval             9 of 10" in text
