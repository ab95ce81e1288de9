"""Splits as a random factor: a planted scatter is found, and splits are mixed nowhere else."""

from __future__ import annotations

import re

import numpy as np
import pytest

from analysis.claims.arms import trial_settings
from analysis.scores.splits import replicated, sections, start_difference
from analysis.trials.load import AnalysisError, Trials
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import TrialResult
from tests.analysis.fakes import make_result, make_spec


def planted(between: float, num_splits: int = 4, num_seeds: int = 3) -> list[TrialResult]:
    """MobileNet ON at 0.8 and OFF at 0.7, whose splits scatter alike and whose seeds scatter by 0.01."""
    rng = np.random.default_rng(5)
    offsets = rng.normal(0, between, num_splits)
    return [
        make_result(
            make_spec("MobileNet", start, split_seed=split, seed=seed),
            accuracy=float(accuracy + offsets[split] + rng.normal(0, 0.01)),
        )
        for start, accuracy in (("ON", 0.8), ("OFF", 0.7))
        for split in range(num_splits)
        for seed in range(num_seeds)
    ]


def test_the_scatter_of_splits_and_of_seeds_is_shown() -> None:
    (section,) = sections(planted(between=0.05))
    on, off = section.listing.rows
    assert (on[0], on[1:3]) == ("MobileNet, ImageNet ON, adam 0.001", ("4", "3"))
    assert off[0].startswith("MobileNet, ImageNet OFF")
    assert 0.02 < float(on[4]) < 0.12
    assert 0.005 < float(on[5]) < 0.02
    assert float(on[6]) == pytest.approx(0.0055, abs=0.001)
    assert float(on[7]) < 0.001


def test_the_difference_of_starts_is_taken_split_by_split() -> None:
    """What moves both starts of a split drops out; the interval is wider than a plain one."""
    settings = {one.first.spec.weights: one for one in replicated(planted(between=0.05))}
    found = start_difference(settings["imagenet"], settings["random"])
    assert found is not None
    assert 0.1 in found.interval
    assert found.interval.high - found.interval.low < 0.06
    text = " ".join(sections(planted(between=0.05))[0].sentences)
    assert re.search(r"MobileNet, ImageNet ON[^-]* - MobileNet, ImageNet OFF[^-:]*: \+0\.1", text)


def test_one_split_has_no_section() -> None:
    assert sections(planted(between=0.05, num_splits=1)) == ()


def test_splits_are_mixed_nowhere_else() -> None:
    trials = Trials(tuple(planted(between=0.05)))
    with pytest.raises(AnalysisError, match="--where split_seed=0"):
        fill_cells(trials)
    assert len(trial_settings(trials)) == 4
    assert {len(arm.results) for setting in trial_settings(trials) for arm in setting.arms.values()} == {3}
