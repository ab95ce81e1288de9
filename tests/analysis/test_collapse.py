"""Collapses with a known cause give the right verdict, and nothing that does not belong together is put together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from analysis.collapse import CollapseStudy, Verdict, examine, seeds_needed
from analysis.collapse_sections import collapse_sections, summary
from analysis.intervals import Share
from analysis.rivals import examine_rivals
from galaxytl.trial import TrialResult, TrialSpec
from tests.analysis.collapsing import always, by_preprocessing, by_rate, collapsing, factorial, failed, never
from tests.analysis.fakes import make_result, make_spec


def verdicts(results: Sequence[TrialResult]) -> dict[str, Verdict]:
    return {arm.name: arm.verdict for arm in examine(results).arms}


def both(verdict: Verdict) -> dict[str, Verdict]:
    return {"ON": verdict, "OFF": verdict}


def test_a_collapse_of_the_learning_rate_is_explained() -> None:
    study = examine(factorial(by_rate))

    assert verdicts(factorial(by_rate)) == both(Verdict.EXPLAINED)
    (arm, _) = study.arms
    assert arm.alternative is not None
    assert arm.alternative.label == "adam 0.0001"
    assert (arm.choice_seeds, arm.test_seeds) == ((0, 1, 2), (3, 4, 5))
    assert arm.corrected == pytest.approx(2 * (arm.p_value or 0))
    assert study.problems == ()


def test_a_collapse_of_the_preprocessing_is_not() -> None:
    assert verdicts(factorial(by_preprocessing)) == both(Verdict.NOT_EXPLAINED)


def test_nor_is_one_that_nothing_prevents() -> None:
    assert verdicts(factorial(always)) == both(Verdict.NOT_EXPLAINED)


def test_where_nothing_collapses_nothing_is_reproduced() -> None:
    assert verdicts(factorial(never)) == both(Verdict.NOT_REPRODUCED)


def test_the_arms_are_two_questions() -> None:
    results = [*factorial(by_rate, arms=["OFF"]), *factorial(never, arms=["ON"])]

    assert verdicts(results) == {"ON": Verdict.NOT_REPRODUCED, "OFF": Verdict.EXPLAINED}


def test_five_seeds_can_decide_and_the_choice_costs_two_of_them() -> None:
    study = examine(factorial(by_rate, seeds=5))

    assert {arm.verdict for arm in study.arms} == {Verdict.EXPLAINED}
    assert {(len(arm.choice_seeds), len(arm.test_seeds)) for arm in study.arms} == {(2, 3)}
    assert all((arm.corrected or 1) == pytest.approx(0.0201, abs=1e-4) for arm in study.arms)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_decide_nothing_and_how_many_would_is_said(seeds: int) -> None:
    for arm in examine(factorial(by_rate, seeds=seeds)).arms:
        assert arm.verdict is Verdict.INCONCLUSIVE
        assert arm.seeds_needed is not None
        assert 4 <= arm.seeds_needed <= 50


def test_seeds_that_disagree_are_inconclusive() -> None:
    results = factorial(lambda spec: spec.seed == 3 or (spec.learning_rate >= 1e-3 and spec.seed != 2), seeds=4)

    assert verdicts(results) == both(Verdict.INCONCLUSIVE)


def test_the_alternative_is_chosen_without_the_test_part_and_without_the_seeds_that_test_it() -> None:
    """rmsprop is best on the test part everywhere and on the validation part of the later seeds; adam 1e-4 on that of
    the earlier ones."""

    def scored(result: TrialResult) -> TrialResult:
        spec, early = result.spec, result.spec.seed < 3
        best = spec.learning_rate == 1e-4 if early else spec.optimizer == "rmsprop"
        last = {**result.history[-1], "val_accuracy": 0.9 if best else 0.3}
        score = 0.99 if spec.optimizer == "rmsprop" else 0.5
        return replace(result, history=(last,), metrics={**result.metrics, "accuracy": score})

    arm = examine([scored(r) for r in factorial(never, arms=["ON"])]).arms[0]

    assert arm.alternative is not None
    assert arm.alternative.label == "adam 0.0001"


def test_arms_and_settings_that_are_not_there_are_named() -> None:
    without = [r for r in factorial(by_rate) if r.spec.optimizer != "adam"]
    on, off = examine(without).arms
    assert on.verdict is off.verdict is Verdict.NOT_TESTABLE
    assert "no trial with the paper's assumed setting, adam 0.001" in on.why

    (on, off) = examine(factorial(by_rate, arms=["OFF"])).arms
    assert (on.verdict, off.verdict) == (Verdict.NOT_TESTABLE, Verdict.EXPLAINED)
    assert "no trial of VGG16 in this arm" in on.why

    on_test = [replace(r, curves_on="test") for r in factorial(by_rate)]
    assert "no trial holds out a validation part" in examine(on_test).arms[0].why
    only_paper = [r for r in factorial(by_rate) if r.spec.learning_rate == 1e-3 and r.spec.optimizer == "adam"]
    assert "nothing but the optimizer's settings" in examine(only_paper).arms[0].why
    assert {arm.verdict for arm in examine([]).arms} == {Verdict.NOT_TESTABLE}


def test_random_weights_in_place_of_imagenets_are_an_arm_of_their_own() -> None:
    stand_in = {"weights": "random", "weights_requested": "imagenet", "weights_fingerprint": ""}
    results = [*factorial(by_rate), *factorial(always, arms=["ON"], **stand_in)]

    found = verdicts(results)

    assert found["ON"] is Verdict.EXPLAINED
    assert found["ON, random weights (ImageNet weights not found)"] is Verdict.NOT_EXPLAINED


def test_trials_that_failed_count_nowhere_and_are_named() -> None:
    results = factorial(by_rate, arms=["OFF"])
    lost = [r for r in results if r.spec.learning_rate == 1e-4 and r.spec.seed in {4, 5}]
    broken = [failed(r, "out of memory: OOM") if r in lost else r for r in results]

    study = examine(broken)

    arm = study.arms[1]
    assert arm.alternative is not None
    assert arm.alternative.collapsed(arm.test_seeds) == Share(0, 1)
    assert sum("counts nowhere: out of memory" in problem for problem in study.problems) == 2  # pixels / 255 alone


def test_a_trial_that_diverged_has_collapsed() -> None:
    results = factorial(never, arms=["OFF"])
    diverged = [failed(r, "diverged: the loss became nan") if r.spec.learning_rate >= 1e-3 else r for r in results]

    assert verdicts(diverged)["OFF"] is Verdict.EXPLAINED


def test_other_datasets_settings_and_versions_are_never_averaged() -> None:
    mixed_data = [*factorial(by_rate), *factorial(by_rate, dataset_fingerprint="beef" * 16)]
    with pytest.raises(ValueError, match="several datasets are never put together"):
        examine(mixed_data)
    simulated = [*factorial(by_rate), *factorial(by_rate, dataset="simulated", dataset_fingerprint="51" * 32)]
    with pytest.raises(ValueError, match="several datasets"):
        examine(simulated)

    longer = factorial(always, seeds=2, num_epochs=50)
    study = examine([*factorial(by_rate), *longer])
    assert verdicts([*factorial(by_rate), *longer]) == both(Verdict.EXPLAINED)
    assert any("differ from those tested in more than optimizer and seed" in problem for problem in study.problems)

    other_code = [
        replace(r, environment={**r.environment, "keras": "3.16.0"}) if r.spec.seed > 2 else r
        for r in factorial(by_rate)
    ]
    assert any("keras 3.15.1 and 3.16.0" in problem for problem in examine(other_code).problems)


def simulated_experiment(rates: dict[float, float], numbers: random.Random) -> CollapseStudy:
    """Eight seeds a setting of one arm, of which each collapses by chance; learning rate -> how often."""
    results = []
    for rate, share in rates.items():
        for seed in range(8):
            spec = make_spec("VGG16", "OFF", validation_fraction=0.1, seed=seed, learning_rate=rate)
            falls = numbers.random() < share
            results.append(collapsing(spec, lambda _, falls=falls: falls))
    return examine(results)


def test_where_settings_do_not_differ_a_difference_is_seldom_claimed() -> None:
    numbers = random.Random(0)
    alike = [simulated_experiment({1e-3: 0.6, 1e-4: 0.6, 1e-5: 0.6}, numbers).arms[1] for _ in range(200)]

    assert sum(arm.verdict is Verdict.EXPLAINED for arm in alike) <= 0.05 * 200 + 7
    assert sum((arm.corrected or 1) <= 0.05 for arm in alike) <= 0.05 * 200 + 7


def test_where_they_do_it_mostly_is() -> None:
    numbers = random.Random(0)
    unlike = [simulated_experiment({1e-3: 1.0, 1e-4: 0.05}, numbers).arms[1].verdict for _ in range(50)]

    assert unlike.count(Verdict.EXPLAINED) >= 45


def test_more_seeds_are_needed_for_smaller_differences() -> None:
    needed = [seeds_needed(Share(8, 8), Share(count, 8), 2) for count in (0, 2, 4)]

    assert all(needed)
    assert needed == sorted(needed)  # type: ignore[type-var]
    assert seeds_needed(Share(4, 8), Share(4, 8), 2) is None


def test_sections_say_it_all_and_the_summary_is_short() -> None:
    results = factorial(by_rate)
    study = examine(results)

    sections = list(collapse_sections(study, examine_rivals(results), results))

    assert sections[0].heading.startswith("Does VGG16's collapse come from its optimizer settings?")
    assert [row[:2] for row in sections[0].listing.rows] == [("ON", "EXPLAINED"), ("OFF", "EXPLAINED")]  # type: ignore[union-attr]
    text = " ".join(sentence for section in sections for sentence in section.sentences)
    assert "was chosen of 3 other settings by validation accuracy on seeds 0, 1, 2, and tested on seeds 3, 4, 5" in text
    assert "the upper end of its rate's Wilson interval is below 1/2" in text
    assert [line.split(":")[1].strip() for line in summary(study)] == ["EXPLAINED", "EXPLAINED"]


def test_the_certificate_of_every_frozen_setting_is_shown() -> None:
    optimum = {"optimal_loss": 0.5, "gap_bound": 0.001, "optimal_accuracy": 0.6, "trial_loss": 2.5, "excess_loss": 2.0}
    results = [replace(r, certificate=optimum) for r in factorial(by_rate, seeds=2, arms=["ON"])]

    sections = list(collapse_sections(examine(results), examine_rivals(results), results))

    (found,) = [s for s in sections if s.heading.startswith("How far heads are")]
    assert found.listing is not None
    assert len(found.listing.rows) == 8
    assert found.listing.rows[0][4:9] == ("0.500", "0.0010", "0.600", "2.50", "2.00 to 2.00")


def test_other_networks_have_no_part_in_it() -> None:
    other = [make_result(make_spec("MobileNet", "OFF", seed=seed)) for seed in range(3)]

    assert verdicts([*factorial(by_rate), *other]) == both(Verdict.EXPLAINED)
    assert isinstance(other[0].spec, TrialSpec)


def test_heads_of_two_settings_are_two_rows_of_the_certificate() -> None:
    optimum = {"optimal_loss": 0.5, "gap_bound": 0.001, "optimal_accuracy": 0.6, "trial_loss": 2.5, "excess_loss": 2.0}
    results = [*factorial(by_rate, seeds=2, arms=["ON"]), *factorial(by_rate, seeds=2, arms=["ON"], num_epochs=50)]
    certified = [replace(r, certificate=optimum) for r in results]

    sections = list(collapse_sections(examine(certified), examine_rivals(certified), certified))

    (found,) = [s for s in sections if s.heading.startswith("How far heads are")]
    assert found.listing is not None
    assert found.listing.headings[4] == "num_epochs"
    assert [row[4] for row in found.listing.rows].count("50") == 8
    assert len(found.listing.rows) == 16
