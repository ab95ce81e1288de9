"""Means over folds: wider than a plain interval, paired fold by fold, and averaged nowhere else."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy.stats import t

from analysis.claims.arms import trial_settings
from analysis.scores.folds import answer, cross_validated, cross_validation, difference, sections
from analysis.trials.load import AnalysisError, Trials
from analysis.trials.repeats import repeats_of
from analysis.trials.table1_cells import fill_cells
from galaxytl.trial import TrialResult
from tests.analysis.fakes import make_result, make_spec

SIZES = {"train": 12_000, "validation": 1_000, "test": 3_000}


def folds_of(accuracy: float, num_folds: int = 5, num_seeds: int = 1, **fields: object) -> list[TrialResult]:
    """MobileNet, whose folds scatter by 0.05 and whose seeds within a fold by 0.001."""
    rng = np.random.default_rng(5)
    offsets = rng.normal(0, 0.05, num_folds)
    return [
        make_result(
            make_spec("MobileNet", num_folds=5, fold=fold, seed=seed, validation_fraction=0.1, **fields),
            accuracy=float(accuracy + offset + rng.normal(0, 0.001)),
            curves_on="validation",
            num_images=SIZES,
        )
        for fold, offset in enumerate(offsets)
        for seed in range(num_seeds)
    ]


def test_the_mean_over_folds_has_the_corrected_interval() -> None:
    results = folds_of(0.7, num_seeds=2)
    (section,) = sections(cross_validation(results))
    (row,) = section.listing.rows
    means = [fmean(r.metrics["accuracy"] for r in results if r.spec.fold == fold) for fold in range(5)]
    half = t.ppf(0.975, 4) * stdev(means) * math.sqrt(1 / 5 + 1 / 4)
    assert row[:4] == ("MobileNet, ImageNet ON", "5", "2", f"{fmean(means):.3f}")
    assert row[4] == f"{fmean(means) - half:.3f} to {fmean(means) + half:.3f}"
    assert row[6:] == (f"{min(means):.3f}", f"{max(means):.3f}")


def test_settings_are_compared_fold_by_fold_and_named_in_full() -> None:
    """What moves both settings of a fold drops out."""
    results = [*folds_of(0.7), *folds_of(0.6, schedule="cosine"), *folds_of(0.6, num_folds=4, warmup_epochs=2.0)]
    means, differences = sections(cross_validation(results))
    assert [row[:2] for row in means.listing.rows] == [
        ("MobileNet, ImageNet ON", "5"),
        ("MobileNet, ImageNet ON, warmup epochs 2.0", "4 of 5"),
        ("MobileNet, ImageNet ON, schedule cosine", "5"),
    ]
    assert any("folds are missing" in sentence for sentence in means.sentences)
    assert [row[2:4] for row in differences.listing.rows] == [("4", "+0.100"), ("5", "+0.100"), ("4", "+0.000")]
    by_p = [row[5] for row in differences.listing.rows]
    assert by_p[:2] == ["<0.001", "<0.001"]
    assert float(by_p[2]) > 0.5
    summary = "cross-validation: 3 settings, 2 of 3 pairs differ in accuracy over folds (Holm's method)"
    assert cross_validation(results).summary == (summary,)
    other_images = cross_validated([*folds_of(0.7), *folds_of(0.6, max_images=500)])
    assert difference(other_images[0], other_images[1]) is None


def test_the_validation_parts_choose_and_missing_folds_choose_nothing() -> None:
    results = [*folds_of(0.7), *folds_of(0.6, schedule="cosine")]
    found = answer(results)
    assert found is not None
    assert found.answer[-2].startswith("MobileNet, ImageNet ON: validation accuracy 0.69")
    assert "5 folds)" in found.answer[-2]
    missing = answer(results[:-1])
    assert missing is not None
    assert "Folds are missing of 1 of 2 settings" in missing.answer[-1]
    assert answer([*results, make_result()]) is None  # a trial of no fold


def test_repeated_cross_validation_is_one_row() -> None:
    results = [*folds_of(0.7), *folds_of(0.72, split_seed=1)]
    assert [row[1] for row in sections(cross_validation(results))[0].listing.rows] == ["2 x 5"]


def test_folds_are_averaged_nowhere_else() -> None:
    results = [*folds_of(0.7, num_seeds=3), *folds_of(0.7, num_seeds=3, learning_rate=1e-4)]
    assert {len(own.results) for own in repeats_of(results)} == {3}
    trials = Trials(tuple(results))
    assert {len(arm.results) for setting in trial_settings(trials) for arm in setting.arms.values()} == {3}
    with pytest.raises(AnalysisError, match=r"of 5 folds: their means are under Cross-validation. One fold: --where f"):
        fill_cells(Trials(tuple(r for r in results if r.spec.learning_rate == 1e-3)))
    assert sections(cross_validation(r for r in results if r.spec.fold == 0)) == ()
