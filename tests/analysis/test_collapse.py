"""Collapses with a known cause give the right verdict, and nothing that does not belong together is put together."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from analysis.collapse import Arm, Verdict, examine, seeds_needed
from analysis.collapse_sections import collapse_sections, summary
from analysis.rivals import examine_rivals
from analysis.statistics.intervals import Share
from galaxytl.trial import TrialResult
from tests.analysis.collapsing import SETTINGS, always, by_preprocessing, by_rate, collapsing, factorial, failed, never
from tests.analysis.fakes import make_result, make_spec


def verdicts(results: Sequence[TrialResult]) -> dict[str, Verdict]:
    return {arm.name: arm.verdict for arm in examine(results).arms}


def both(verdict: Verdict) -> dict[str, Verdict]:
    return {"ON": verdict, "OFF": verdict}


def test_a_collapse_of_the_learning_rate_is_explained() -> None:
    study = examine(factorial(by_rate))
    arm, other = study.arms

    assert arm.verdict is other.verdict is Verdict.EXPLAINED
    assert arm.alternative.label == "adam 0.0001"
    assert (arm.choice_seeds, arm.test_seeds) == ((0, 1, 2), (3, 4, 5))
    assert arm.corrected == pytest.approx(2 * (arm.p_value or 0))
    assert study.problems == ()


STAND_IN = {"weights": "random", "weights_requested": "imagenet", "weights_fingerprint": ""}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (factorial(by_preprocessing), both(Verdict.NOT_EXPLAINED)),
        (factorial(always), both(Verdict.NOT_EXPLAINED)),
        (factorial(never), both(Verdict.NOT_REPRODUCED)),
        (
            [*factorial(by_rate, arms=["OFF"]), *factorial(never, arms=["ON"])],
            {"ON": Verdict.NOT_REPRODUCED, "OFF": Verdict.EXPLAINED},
        ),
        (
            [*factorial(by_rate), *factorial(always, arms=["ON"], **STAND_IN)],
            {**both(Verdict.EXPLAINED), "ON, random weights (ImageNet weights not found)": Verdict.NOT_EXPLAINED},
        ),
        ([*factorial(by_rate), make_result(make_spec("MobileNet", "OFF"))], both(Verdict.EXPLAINED)),
        ([failed(r, "diverged: NaN") if by_rate(r.spec) else r for r in factorial(never)], both(Verdict.EXPLAINED)),
        (
            factorial(lambda spec: spec.seed == 3 or (by_rate(spec) and spec.seed != 2), seeds=4),
            both(Verdict.INCONCLUSIVE),  # seeds disagree
        ),
    ],
)
def test_other_collapses_have_their_verdicts(results: list[TrialResult], expected: dict[str, Verdict]) -> None:
    assert verdicts(results) == expected


def test_five_seeds_can_decide_and_the_choice_costs_two_of_them() -> None:
    study = examine(factorial(by_rate, seeds=5))
    assert {arm.verdict for arm in study.arms} == {Verdict.EXPLAINED}
    assert {(len(arm.choice_seeds), len(arm.test_seeds)) for arm in study.arms} == {(2, 3)}
    assert all((arm.corrected or 1) == pytest.approx(0.0201, abs=1e-4) for arm in study.arms)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_decide_nothing_and_how_many_would_is_said(seeds: int) -> None:
    for arm in examine(factorial(by_rate, seeds=seeds)).arms:
        assert arm.verdict is Verdict.INCONCLUSIVE
        assert 4 <= arm.seeds_needed <= 50


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


def test_trials_that_failed_count_nowhere_and_are_named() -> None:
    results = factorial(by_rate, arms=["OFF"])
    lost = [r for r in results if r.spec.learning_rate == 1e-4 and r.spec.seed in {4, 5}]
    broken = [failed(r, "out of memory: OOM") if r in lost else r for r in results]

    study = examine(broken)
    arm = study.arms[1]

    assert arm.alternative.collapsed(arm.test_seeds) == Share(0, 1)
    assert sum("counts nowhere: out of memory" in problem for problem in study.problems) == 2  # pixels / 255 alone


@pytest.mark.parametrize("dataset", ["galaxy10_decals", "simulated"])
def test_datasets_are_never_put_together(dataset: str) -> None:
    with pytest.raises(ValueError, match="several datasets are never put together"):
        examine([*factorial(by_rate), *factorial(by_rate, dataset=dataset, dataset_fingerprint="beef" * 16)])


def test_other_settings_and_versions_are_named() -> None:
    study = examine([*factorial(by_rate), *factorial(always, seeds=2, num_epochs=50)])
    assert [arm.verdict for arm in study.arms] == [Verdict.EXPLAINED] * 2
    assert any("differ from those tested in more than optimizer and seed" in problem for problem in study.problems)

    mixed = [replace(r, environment={"keras": "3.16.0"}) if r.spec.seed > 2 else r for r in factorial(by_rate)]
    assert any("keras 3.15.1 and 3.16.0" in problem for problem in examine(mixed).problems)


def simulated_experiments(number: int, rates: dict[float, float]) -> list[Arm]:
    """Eight seeds a setting of one arm, of which each collapses by chance; learning rate -> how often."""
    numbers = random.Random(0)
    fixed = {"validation_fraction": 0.1}

    def experiment() -> Arm:
        specs = [make_spec("VGG16", "OFF", seed=s, learning_rate=r, **fixed) for r in rates for s in range(8)]
        return examine([collapsing(s, lambda s: numbers.random() < rates[s.learning_rate]) for s in specs]).arms[1]

    return [experiment() for _ in range(number)]


def test_where_settings_do_not_differ_a_difference_is_seldom_claimed_and_where_they_do_it_mostly_is() -> None:
    alike = simulated_experiments(200, {1e-3: 0.6, 1e-4: 0.6, 1e-5: 0.6})
    assert sum(arm.verdict is Verdict.EXPLAINED for arm in alike) <= 0.05 * 200 + 7
    assert sum((arm.corrected or 1) <= 0.05 for arm in alike) <= 0.05 * 200 + 7
    unlike = simulated_experiments(50, {1e-3: 1.0, 1e-4: 0.05})
    assert sum(arm.verdict is Verdict.EXPLAINED for arm in unlike) >= 45


def test_more_seeds_are_needed_for_smaller_differences() -> None:
    needed = [seeds_needed(Share(8, 8), Share(count, 8), 2) for count in (0, 2, 4)]
    assert all(needed)
    assert needed == sorted(needed)
    assert seeds_needed(Share(4, 8), Share(4, 8), 2) is None


def test_sections_say_it_all_and_the_summary_is_short() -> None:
    study = examine(results := factorial(by_rate))
    sections = list(collapse_sections(study, examine_rivals(results), results))

    assert sections[0].heading.startswith("Does VGG16's collapse come from its optimizer settings?")
    assert [row[:2] for row in sections[0].listing.rows] == [("ON", "EXPLAINED"), ("OFF", "EXPLAINED")]
    text = " ".join(sentence for section in sections for sentence in section.sentences)
    assert "was chosen of 3 other settings by validation accuracy on seeds 0, 1, 2, and tested on seeds 3, 4, 5" in text
    assert "the upper end of its rate's Wilson interval is below 1/2" in text
    assert [line.split(":")[1].strip() for line in summary(study)] == ["EXPLAINED", "EXPLAINED"]


@pytest.mark.parametrize("epochs", [(20,), (20, 50)])
def test_the_certificate_of_every_frozen_setting_is_shown(epochs: tuple[int, ...]) -> None:
    optimum = {"optimal_loss": 0.5, "gap_bound": 0.001, "optimal_accuracy": 0.6, "trial_loss": 2.5, "excess_loss": 2.0}
    rows = [r for number in epochs for r in factorial(by_rate, seeds=2, arms=["ON"], num_epochs=number)]
    results = [replace(r, certificate=optimum) for r in rows]

    sections = collapse_sections(examine(results), examine_rivals(results), results)

    (listing,) = [s.listing for s in sections if s.heading.startswith("How far heads are")]
    shown = [dict(zip(listing.headings, row, strict=True)) for row in listing.rows]
    assert sorted(row.get("num_epochs", "20") for row in shown) == [str(number) for number in epochs for _ in range(8)]
    values = listing.rows[0][4 + (len(epochs) > 1) :][:5]
    assert values == ("0.500", "0.0010", "0.600", "2.50", "2.00 to 2.00")


def test_the_seeds_that_test_an_alternative_have_no_say_in_its_choice() -> None:
    """In the first half Adam at 1e-4 is a little better than SGD, in the second SGD by far."""
    accuracies = {0: (0.1,) * 4, 1: (0.5, 0.5, 0.1, 0.1), 2: (0.4, 0.4, 0.9, 0.9)}
    results = [
        collapsing(
            make_spec("VGG16", "ON", validation_fraction=0.1, seed=seed, **SETTINGS[number]),
            by_rate,
            history=({"epoch": 1.0, "val_accuracy": accuracy},),
        )
        for number, own in accuracies.items()
        for seed, accuracy in enumerate(own)
    ]
    assert examine(results).arms[0].alternative.label == "adam 0.0001"
