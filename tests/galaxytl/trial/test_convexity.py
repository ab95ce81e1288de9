"""A row speaks of an optimum only where that is of the loss that its trial was led down."""

from __future__ import annotations

import pytest

from galaxytl.trial import COMPLETE, TrialResult, TrialSpec
from galaxytl.trial.convexity import is_convex

CONVEX = TrialSpec(dataset="d", dataset_fingerprint="0", weights="random", weights_requested="random")


@pytest.mark.parametrize(
    "change",
    [
        *({"head_units": 4}, {"augmentation": True}, {"unfrozen_blocks": 1}, {"shift": 0.1}, {"zoom": 0.1}),
        *({"brightness": 0.1}, {"mixup": 0.2}, {"cutmix": 1.0}, {"label_smoothing": 0.1}, {"focal_gamma": 2.0}),
        *({"class_weighting": "balanced"}, {"weight_decay": 0.1}, {"optimizer": "adamw", "weight_decay": 0.1}),
    ],
)
def test_only_the_head_alone_on_fixed_features_is_convex(change: dict[str, object]) -> None:
    assert is_convex(CONVEX)
    assert not is_convex(CONVEX.replace(**change))


def test_a_row_of_before_says_nothing_of_an_optimum_that_is_not_its_trials() -> None:
    optimum = {"optimal_loss": 0.5, "excess_loss": 2.0}
    for spec, expected in ((CONVEX, optimum), (CONVEX.replace(class_weighting="balanced"), {})):
        row = TrialResult(spec=spec, status=COMPLETE, certificate=optimum).to_dict()
        assert row["certificate"] == optimum
        assert TrialResult.from_dict(row).certificate == expected
