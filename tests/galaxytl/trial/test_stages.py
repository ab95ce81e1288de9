"""Which depths a text names, which epochs each is trained in, and which fields it goes with."""

from __future__ import annotations

from typing import Any

import pytest

from galaxytl.trial import SpecError, TrialSpec, parse_field
from galaxytl.trial.stages import Stage, depths_of, readable_cuts, spec_of, stages_of, text_of

SPEC = TrialSpec(dataset="d", dataset_fingerprint="f", unfrozen_blocks="all", unfreeze_stages="0,2,all")


def test_stages_share_the_epochs_and_the_earlier_ones_are_not_longer() -> None:
    assert stages_of(SPEC) == (Stage(0, 1, 6), Stage(2, 7, 13), Stage("all", 14, 20))
    for epochs in range(3, 12):
        stages = stages_of(SPEC.replace(num_epochs=epochs))
        numbers = [stage.num_epochs for stage in stages]
        assert sum(numbers) == epochs == stages[-1].last
        assert numbers == sorted(numbers)
        assert numbers[-1] - numbers[0] <= 1
        assert [one.last + 1 for one in stages[:-1]] == [one.first for one in stages[1:]]
    alone = SPEC.replace(unfreeze_stages="", unfrozen_blocks=4)
    assert stages_of(alone) == (Stage(4, 1, 20),)
    assert spec_of(alone, stages_of(alone)[0]) is alone


def test_equal_stages_have_one_spelling_and_nothing_else_is_one() -> None:
    for text in ("0,2,all", "1,3", "0,all", "2,5,10"):
        assert text_of(depths_of(text)) == text
        assert parse_field("unfreeze_stages", text) == text
    for text in (
        "0",
        "all",
        "2,1",
        "1,1",
        "0,all,3",
        "0, 2",
        "00,2",
        "1,2,",
        ",1",
        "0,2,ALL",
        "-1,2",
        "1;2",
        "0,9" * 999,
    ):
        with pytest.raises(SpecError, match="unfreeze_stages must be at least two depths in ascending order"):
            parse_field("unfreeze_stages", text)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"unfrozen_blocks": 3}, "the last of unfreeze_stages must be unfrozen_blocks; got unfreeze_stages=0,2,all"),
        ({"num_epochs": 2}, "must be no more stages than epochs; got unfreeze_stages=0,2,all, num_epochs=2"),
        ({"ema_momentum": 0.9}, "goes with neither .*; got unfreeze_stages=0,2,all, ema_momentum=0.9"),
        ({"scored_epoch": "best", "validation_fraction": 0.1}, "goes with neither .*, scored_epoch=best"),
    ],
)
def test_what_does_not_go_with_stages_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(SpecError, match=rule):
        SPEC.replace(**changes)


def test_a_stage_reads_what_is_stored_before_all_that_it_trains() -> None:
    found = {depth: readable_cuts((10, 2, 0), depth) for depth in (0, 1, 2, 5, "all")}
    assert found == {0: (10, 2, 0), 1: (10, 2), 2: (10, 2), 5: (10,), "all": ()}
    decayed = SPEC.replace(learning_rate_decay=0.7)  # which no head alone has
    specs = [spec_of(decayed, stage) for stage in stages_of(decayed)]
    depths = [(one.unfrozen_blocks, one.learning_rate_decay) for one in specs]
    assert depths == [(0, 1.0), (2, 0.7), ("all", 0.7)]
    assert SPEC.trial_id != SPEC.replace(unfreeze_stages="").trial_id
