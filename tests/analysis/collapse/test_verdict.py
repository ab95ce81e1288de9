"""Collapses with a known cause give the right verdict, and nothing that does not belong together is put together."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import binom

from analysis import statistics
from analysis.collapse.answer import Beside, verdict_lines
from analysis.collapse.rivals import examine_rivals
from analysis.collapse.sections import collapse_sections
from analysis.collapse.verdict import CollapseArm, Explanation, seeds_to_explain, study_collapse
from analysis.statistics.boschloo import fewest_seeds
from analysis.statistics.intervals import Share
from analysis.trials.endings import Ending, ending_of
from galaxytl.trial import SPEC_FIELDS, TrialResult
from tests.analysis.collapsing import SETTINGS, always, by_preprocessing, by_rate, collapsing, factorial, failed, never
from tests.analysis.fakes import COUNTS, make_confusion, make_result, make_spec


def verdicts(results: Sequence[TrialResult]) -> dict[str, Explanation]:
    return {arm.name: arm.verdict for arm in study_collapse(results).arms}


def both(verdict: Explanation) -> dict[str, Explanation]:
    return {"ON": verdict, "OFF": verdict}


def test_a_collapse_of_the_learning_rate_is_explained() -> None:
    study = study_collapse(factorial(by_rate))
    arm, other = study.arms

    assert arm.verdict is other.verdict is Explanation.EXPLAINED
    assert arm.alternative.label == "adam 0.0001"
    assert (arm.choice_seeds, arm.test_seeds) == ((0, 1, 2), (3, 4, 5))
    assert arm.corrected == pytest.approx(2 * (arm.p_value or 0))
    assert study.problems == ()


STAND_IN = {"weights": "random", "weights_requested": "imagenet", "weights_fingerprint": ""}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (factorial(by_preprocessing), both(Explanation.NOT_EXPLAINED)),
        (factorial(always), both(Explanation.NOT_EXPLAINED)),
        (factorial(never), both(Explanation.NOT_REPRODUCED)),
        (
            [*factorial(by_rate, arms=["OFF"]), *factorial(never, arms=["ON"])],
            {"ON": Explanation.NOT_REPRODUCED, "OFF": Explanation.EXPLAINED},
        ),
        (
            [*factorial(by_rate), *factorial(always, arms=["ON"], **STAND_IN)],
            {
                **both(Explanation.EXPLAINED),
                "ON, random weights (ImageNet weights not found)": Explanation.NOT_EXPLAINED,
            },
        ),
        ([*factorial(by_rate), make_result(make_spec("MobileNet", "OFF"))], both(Explanation.EXPLAINED)),
        ([failed(r, "diverged: NaN") if by_rate(r.spec) else r for r in factorial(never)], both(Explanation.EXPLAINED)),
        (
            factorial(lambda spec: spec.seed == 3 or (by_rate(spec) and spec.seed != 2), seeds=4),
            both(Explanation.INCONCLUSIVE),  # seeds disagree
        ),
    ],
)
def test_other_collapses_have_their_verdicts(results: list[TrialResult], expected: dict[str, Explanation]) -> None:
    assert verdicts(results) == expected


def test_five_seeds_can_decide_and_the_choice_costs_two_of_them() -> None:
    study = study_collapse(factorial(by_rate, seeds=5))
    assert {arm.verdict for arm in study.arms} == {Explanation.EXPLAINED}
    assert {(len(arm.choice_seeds), len(arm.test_seeds)) for arm in study.arms} == {(2, 3)}
    assert all((arm.corrected or 1) == pytest.approx(0.0201, abs=1e-4) for arm in study.arms)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_decide_nothing_and_how_many_would_is_said(seeds: int) -> None:
    for arm in study_collapse(factorial(by_rate, seeds=seeds)).arms:
        assert arm.verdict is Explanation.INCONCLUSIVE
        assert 4 <= arm.seeds_needed <= 50


def test_a_warm_up_makes_another_setting_and_no_other_background() -> None:
    """Trials with a warm-up are never pooled with those without, nor tested by themselves."""
    plain, warm = factorial(by_rate, arms=["OFF"]), factorial(never, arms=["OFF"], warmup_epochs=2.0)
    _, alone = study_collapse(plain).arms
    study = study_collapse([*plain, *warm])
    _, arm = study.arms

    assert (arm.verdict, arm.backgrounds, study.problems) == (Explanation.EXPLAINED, (), ())
    assert arm.paper is not None
    assert arm.paper.label == "adam 0.001"
    assert str(arm.paper.collapsed()) == "6 of 6"
    assert [len(setting.kinds) for setting in arm.others] == [6] * 7
    assert "adam 0.001, warm-up of 2 epochs" in {setting.label for setting in arm.others}
    assert arm.background == alone.background
    only_warm = study_collapse(warm).arms[1]
    assert only_warm.why == "no trial with the paper's assumed setting, adam 0.001, on pixels / 255"


def test_the_alternative_is_chosen_without_the_test_part_and_without_the_seeds_that_test_it() -> None:
    """rmsprop is best on the test part everywhere and on the validation part of the later seeds; adam 1e-4 on that of
    the earlier ones."""

    def scored(result: TrialResult) -> TrialResult:
        spec, early = result.spec, result.spec.seed < 3
        best = spec.learning_rate == 1e-4 if early else spec.optimizer == "rmsprop"
        last = {**result.history[-1], "val_accuracy": 0.9 if best else 0.3}
        score = 0.99 if spec.optimizer == "rmsprop" else 0.5
        return replace(result, history=(last,), metrics={**result.metrics, "accuracy": score})

    arm = study_collapse([scored(r) for r in factorial(never, arms=["ON"])]).arms[0]

    assert arm.alternative.label == "adam 0.0001"


def test_arms_and_settings_that_are_not_there_are_named() -> None:
    without = [r for r in factorial(by_rate) if r.spec.optimizer != "adam"]
    on, off = study_collapse(without).arms
    assert on.verdict is off.verdict is Explanation.NOT_TESTABLE
    assert "no trial with the paper's assumed setting, adam 0.001" in on.why

    (on, off) = study_collapse(factorial(by_rate, arms=["OFF"])).arms
    assert (on.verdict, off.verdict) == (Explanation.NOT_TESTABLE, Explanation.EXPLAINED)
    assert "no trial of VGG16 in this arm" in on.why

    only_paper = [r for r in factorial(by_rate) if r.spec.learning_rate == 1e-3 and r.spec.optimizer == "adam"]
    assert "nothing but the optimizer's settings" in study_collapse(only_paper).arms[0].why
    assert {arm.verdict for arm in study_collapse([]).arms} == {Explanation.NOT_TESTABLE}


def test_trials_that_failed_count_nowhere_and_are_named() -> None:
    results = factorial(by_rate, arms=["OFF"])
    lost = [r for r in results if r.spec.learning_rate == 1e-4 and r.spec.seed in {4, 5}]
    broken = [failed(r, "out of memory: OOM") if r in lost else r for r in results]

    study = study_collapse(broken)
    arm = study.arms[1]

    assert (arm.choice_seeds, arm.test_seeds) == ((0, 1), (2, 3))  # of the seeds that are left
    assert arm.alternative.collapsed(arm.test_seeds) == Share(0, 2)
    (lost_of_255,) = (problem for problem in study.problems if "out of memory" in problem)
    assert "2 trials with adam 0.0001 (seeds 4, 5), FAILED, not counted: out of memory: OOM" in lost_of_255


@pytest.mark.parametrize("dataset", ["galaxy10_decals", "simulated"])
def test_datasets_are_never_put_together(dataset: str) -> None:
    with pytest.raises(ValueError, match="several datasets are never put together"):
        study_collapse([*factorial(by_rate), *factorial(by_rate, dataset=dataset, dataset_fingerprint="beef" * 16)])


def test_other_settings_and_versions_are_named() -> None:
    study = study_collapse([*factorial(by_rate), *factorial(always, seeds=2, num_epochs=50)])
    assert [arm.verdict for arm in study.arms] == [Explanation.EXPLAINED] * 2
    assert all("INCONCLUSIVE with num_epochs=50" in arm.why for arm in study.arms)
    no_other = [r for r in factorial(always, num_epochs=50) if r.spec.optimizer == "sgd"]
    problems = study_collapse([*factorial(by_rate), *no_other]).problems
    assert any("differ from those tested in more than optimizer and seed" in problem for problem in problems)

    mixed = [replace(r, environment={"keras": "3.16.0"}) if r.spec.seed > 2 else r for r in factorial(by_rate)]
    assert any("keras 3.15.1 and 3.16.0" in problem for problem in study_collapse(mixed).problems)


def simulated_experiments(number: int, rates: dict[float, float]) -> list[CollapseArm]:
    """Eight seeds a setting of one arm, of which each collapses by chance; learning rate -> how often."""
    numbers = random.Random(0)
    fixed = {"validation_fraction": 0.1}

    def experiment() -> CollapseArm:
        specs = [make_spec("VGG16", "OFF", seed=s, learning_rate=r, **fixed) for r in rates for s in range(8)]
        return study_collapse([collapsing(s, lambda s: numbers.random() < rates[s.learning_rate]) for s in specs]).arms[
            1
        ]

    return [experiment() for _ in range(number)]


def test_where_settings_do_not_differ_a_difference_is_seldom_claimed_and_where_they_do_it_mostly_is() -> None:
    alike = simulated_experiments(120, {1e-3: 0.6, 1e-4: 0.6, 1e-5: 0.6})
    assert sum(arm.verdict is Explanation.EXPLAINED for arm in alike) <= 0.05 * 120 + 5
    assert sum((arm.corrected or 1) <= 0.05 for arm in alike) <= 0.05 * 120 + 5
    unlike = simulated_experiments(30, {1e-3: 1.0, 1e-4: 0.05})
    assert sum(arm.verdict is Explanation.EXPLAINED for arm in unlike) >= 26


def test_more_seeds_are_needed_for_smaller_differences() -> None:
    needed = [seeds_to_explain(Share(8, 8), Share(count, 8), 2) or 0 for count in (0, 1, 2)]
    assert all(needed)
    assert needed == sorted(needed)
    assert seeds_to_explain(Share(4, 8), Share(4, 8), 2) is None


def test_sections_say_it_all_and_the_summary_is_short() -> None:
    study = study_collapse(results := factorial(by_rate))
    sections = list(collapse_sections(study, Beside(examine_rivals(results)), results))

    assert sections[0].heading.startswith("Does VGG16's collapse come from its optimizer settings?")
    assert [row[:2] for row in sections[0].listing.rows] == [("VGG16 ON", "EXPLAINED"), ("VGG16 OFF", "EXPLAINED")]
    text = " ".join(sentence for section in sections for sentence in section.sentences)
    assert "by collapse rate, then by validation accuracy, on seeds 0, 1, 2, and tested on seeds 3, 4, 5" in text
    assert "p of an exact binomial test that its rate is at least 1/2" in text
    assert [line.split(":")[1].strip() for line in verdict_lines(study)] == ["EXPLAINED", "EXPLAINED"]


@pytest.mark.parametrize("epochs", [(20,), (20, 50)])
def test_the_certificate_of_every_frozen_setting_is_shown(epochs: tuple[int, ...]) -> None:
    optimum = {"optimal_loss": 0.5, "gap_bound": 0.001, "optimal_accuracy": 0.6, "trial_loss": 2.5, "excess_loss": 2.0}
    rows = [r for number in epochs for r in factorial(by_rate, seeds=2, arms=["ON"], num_epochs=number)]
    results = [replace(r, certificate=optimum) for r in rows]

    sections = collapse_sections(study_collapse(results), Beside(), results)

    (listing,) = [s.listing for s in sections if s.heading.startswith("How far heads are")]
    shown = [dict(zip(listing.headings, row, strict=True)) for row in listing.rows]
    assert sorted(row.get("num_epochs", "20") for row in shown) == [str(number) for number in epochs for _ in range(8)]
    values = listing.rows[0][4 + (len(epochs) > 1) :][:5]
    assert values == ("0.500", "0.0010", "0.600", "2.50", "2.00 to 2.00")


def trial(number: int, seed: int, collapses: bool, **changes: Any) -> TrialResult:
    """Of one of SETTINGS, from scratch; `changes` are of the spec, or of the result where it has such a field."""
    of_spec = {name: changes.pop(name) for name in list(changes) if name in SPEC_FIELDS}
    spec = make_spec("VGG16", "OFF", **{"validation_fraction": 0.1, "seed": seed, **SETTINGS[number], **of_spec})
    return collapsing(spec, always if collapses else never, **changes)


def off(results: Sequence[TrialResult]) -> CollapseArm:
    return study_collapse(results).arms[-1]


def environment(**changes: str) -> dict[str, str]:
    return {"device": "NVIDIA H200", "host": "a", "galaxytl": "0.1.0", "keras": "3.15.1", **changes}


@pytest.mark.parametrize(
    "factor",
    ["galaxytl", "keras", "keras_backend", "tensorflow", "jax", "numpy", "python", "device", "host", "data_damage"],
)
def test_what_is_confounded_with_anything_has_no_verdict_and_says_with_what(factor: str) -> None:
    old, new = environment(**{factor: "old"}), environment(**{factor: "new"})
    collapses = [trial(0, seed, True, environment=old) for seed in range(6)]
    escapes = [trial(n, seed, False, environment=new) for n in (1, 2, 3) for seed in range(6)]
    stays = [trial(n, seed, True, environment=new) for n in (1, 2, 3) for seed in range(6)]

    for others in (escapes, stays):
        arm = off([*collapses, *others])
        assert arm.verdict is Explanation.INCONCLUSIVE
        assert "(old against new)" in arm.why
        assert arm.obstacle
        assert arm.seeds_needed is None
    same = [replace(r, environment=old) for r in escapes]
    assert off([*collapses, *same]).verdict is Explanation.EXPLAINED


def test_an_alternative_that_is_not_confounded_is_chosen_before_others() -> None:
    results = [trial(0, seed, True, environment=environment()) for seed in range(6)]
    results += [trial(1, seed, False, environment=environment(keras="3.16.0")) for seed in range(6)]
    results += [trial(2, seed, False, environment=environment()) for seed in range(6)]
    arm = off(results)
    assert (arm.verdict, arm.alternative.label) == (Explanation.EXPLAINED, "sgd 0.01, momentum 0.9")


def test_what_is_spread_unevenly_must_not_be_the_cause() -> None:
    """Collapse follows the version alone, of which the paper's setting has mostly the one and the other the other."""

    def version(number: int, seed: int) -> str:
        return "old" if (seed < 9) == (number == 0) else "new"

    results = [
        trial(n, s, version(n, s) == "old", environment=environment(keras=version(n, s)))
        for n in (0, 1)
        for s in [*range(9), 19]
    ]
    arm = off(results)
    assert arm.corrected <= 0.05
    assert arm.verdict is Explanation.INCONCLUSIVE
    assert "unevenly over keras" in arm.why


def test_what_varies_alike_in_both_is_said_and_stands_against_nothing() -> None:
    keras = ("3.15.1", "3.16.0")
    results = [trial(n, s, n == 0, environment=environment(keras=keras[s % 2])) for n in (0, 1) for s in range(8)]
    study = study_collapse(results)
    assert study.arms[-1].verdict is Explanation.EXPLAINED
    assert any("keras 3.15.1 and 3.16.0" in problem for problem in study.problems)


def test_hosts_of_their_own_and_unknown_versions_stand_against_nothing() -> None:
    own = [trial(n, s, n == 0, environment=environment(host=f"pod-{n}-{s}")) for n in (0, 1) for s in range(6)]
    assert off(own).verdict is Explanation.EXPLAINED

    old = [trial(n, s, n == 0, environment=environment() if n else {}) for n in (0, 1) for s in range(6)]
    study = study_collapse(old)
    assert study.arms[-1].verdict is Explanation.EXPLAINED
    assert any("6 of 12 trials that are compared do not record their versions" in text for text in study.problems)
    lacking = [
        trial(n, s, n == 0, environment=environment(**({"jax": "0.5"} if n else {}))) for n in (0, 1) for s in range(6)
    ]
    assert any("do not record jax" in problem for problem in study_collapse(lacking).problems)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "mixed_float16"}, "precision (float32 against mixed_float16)"),
        ({"dataset": "galaxy10_copy"}, "dataset (galaxy10_decals against galaxy10_copy)"),
        ({"num_epochs": 50}, "num_epochs (20 against 50)"),
    ],
)
def test_what_differs_in_the_spec_is_not_tested_and_named(changes: dict[str, Any], said: str) -> None:
    results = [trial(0, s, True) for s in range(6)] + [trial(1, s, False, **changes) for s in range(6)]
    arm = off(results)
    assert arm.verdict is Explanation.NOT_TESTABLE
    assert said in arm.why


def with_validation(result: TrialResult, accuracy: float) -> TrialResult:
    return replace(result, history=({**result.history[-1], "val_accuracy": accuracy},))


def test_the_alternative_is_the_one_that_collapses_least_and_then_the_most_accurate() -> None:
    """RMSprop collapses in half of its seeds, and is the most accurate where it does not; the others never do."""
    accuracies = {1: 0.5, 2: 0.55, 3: 0.99}
    results = [trial(0, s, True) for s in range(10)]
    results += [
        with_validation(trial(n, s, n == 3 and s % 2 == 0), accuracies[n]) for n in (1, 2, 3) for s in range(10)
    ]
    arm = off(results)
    assert (arm.verdict, arm.alternative.label) == (Explanation.EXPLAINED, "sgd 0.01, momentum 0.9")
    assert [setting.label for setting in arm.others][-1] == "rmsprop 0.001"


def test_the_choice_and_its_ties_do_not_depend_on_the_order_of_trials() -> None:
    results = [
        with_validation(trial(n, s, n == 0, num_epochs=e), 0.5) for n in range(4) for s in range(6) for e in (5, 9)
    ]
    studies = []
    for seed in range(4):
        random.Random(seed).shuffle(results)
        studies.append(study_collapse(results))
    assert all(study == studies[0] for study in studies)
    assert studies[0].arms[-1].alternative.label == "adam 0.0001"


def test_seeds_are_halved_that_the_papers_setting_and_an_alternative_share() -> None:
    papers = [trial(0, s, True) for s in range(10)]
    others = [trial(n, s, False) for n in (1, 2) for s in (0, 1, 2, 3, 4)]
    lone = [trial(3, 9, False)]
    for results in ([*papers, *others], [*papers, *others, *lone]):
        arm = off(results)
        assert arm.verdict is Explanation.EXPLAINED
        assert (arm.choice_seeds, arm.test_seeds) == ((0, 1), (2, 3, 4))
        assert arm.alternative.collapsed(arm.test_seeds) == Share(0, 3)
    few = [trial(0, s, True) for s in (3, 4, 5, 6, 7)]
    many = [trial(1, s, False) for s in range(20)]
    assert (off([*few, *many]).choice_seeds, off([*few, *many]).test_seeds) == ((3, 4), (5, 6, 7))


def test_where_no_number_of_seeds_can_decide_none_is_named_and_that_is_known_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Soon: p-values proper, at a thousand common shares, are computed for few numbers of seeds."""
    computed: list[int] = []

    def counted(first: int, second: int, nuisance: Any) -> Any:
        computed.extend([first] if len(nuisance) > 100 else [])
        return one_sided(first, second, nuisance)

    one_sided = statistics.boschloo._one_sided
    monkeypatch.setattr(statistics.boschloo, "_one_sided", counted)
    fewest_seeds.cache_clear()
    assert seeds_to_explain(Share(5, 5), Share(2, 3), 2) is None
    assert seeds_to_explain(Share(5, 5), Share(3, 5), 2) is None
    assert (seeds_to_explain(Share(5, 5), Share(2, 5), 2) or 0) > 40
    assert 1 <= len(computed) <= 5
    results = [trial(0, s, True) for s in range(5)] + [trial(1, s, s % 5 in {0, 2, 3}) for s in range(5)]
    assert off(results).seeds_needed is None


def test_backgrounds_are_all_tested_and_a_disagreement_is_the_answer() -> None:
    short = [trial(n, s, n == 0, num_epochs=5) for n in (0, 1) for s in range(8)]
    long = [trial(n, s, True, num_epochs=50) for n in (0, 1) for s in range(8)]
    study = study_collapse([*long, *short])
    arm = study.arms[-1]
    assert [one.name for one in study.arms] == ["ON", "OFF"]
    assert arm.verdict is Explanation.INCONCLUSIVE
    assert "; EXPLAINED with num_epochs=5" in f"; {arm.why.partition(': ')[2]}"
    assert "NOT_EXPLAINED with num_epochs=50" in arm.why
    assert arm.background.startswith("each of 2 backgrounds (num_epochs=5, num_epochs=50); the numbers are of")

    other = [replace(r, spec=r.spec.replace(num_epochs=9)) for r in short]
    agreed = off([*other, *short])
    assert agreed.verdict is Explanation.EXPLAINED
    assert [one.background.partition(",")[0] for one in agreed.backgrounds] == ["5 epochs", "9 epochs"]
    alone = off(short)
    assert agreed.corrected == pytest.approx(alone.corrected)  # two tests of one arm, where there were two arms
    assert "224 x 224 pixels, pixels / 255, 12,415 training and 5,321 test images" in alone.background


def naming(share: float, right: int) -> dict[str, Any]:
    """Predictions of which one class has `share`; of the others `right` of a hundred are right."""
    others = [round(count * (1 - share)) for count in COUNTS]
    rows = []
    for i, (count, other) in enumerate(zip(COUNTS, others, strict=True)):
        row = [0] * len(COUNTS)
        good = round(other * right / 100) if i != 2 else 0
        row[2] += count - other
        row[i] += good
        row[(i + 1) % 10 if (i + 1) % 10 != 2 else (i + 2) % 10] += other - good
        rows.append(tuple(row))
    return {"confusion": tuple(rows)}


def test_a_verdict_that_hangs_on_where_one_class_begins_is_none() -> None:
    results = [trial(0, s, False, **naming(0.953, 90)) for s in range(6)]
    results += [trial(n, s, False, **naming(0.947, 90)) for n in (1, 2) for s in range(6)]
    assert {ending_of(r) for r in results} == {Ending.ONE_CLASS, Ending.LEARNED}
    arm = off(results)
    assert arm.verdict is Explanation.INCONCLUSIVE
    assert "hangs on the share" in arm.why
    assert arm.at_shares[0.9] is Explanation.NOT_EXPLAINED


def test_a_perfect_network_has_not_collapsed_however_large_one_class_is() -> None:
    perfect = {"confusion": ((95, 0), (0, 5)), "class_names": ("a", "b")}
    results = [trial(n, s, False, **perfect) for n in (0, 1) for s in range(6)]
    assert off(results).verdict is Explanation.NOT_REPRODUCED


def test_a_cure_is_better_than_naming_the_commonest_class() -> None:
    """0.149 are of the commonest class; kappa is significant all the same."""

    def found(accuracies: Sequence[float]) -> CollapseArm:
        def cured(seed: int) -> TrialResult:
            accuracy = accuracies[seed % len(accuracies)]
            result = trial(1, seed, False, confusion=make_confusion(accuracy))
            return replace(result, metrics={**result.metrics, "accuracy": accuracy})

        return off([*(trial(0, s, True) for s in range(6)), *(cured(s) for s in range(6))])

    no_cure = found([0.15, 0.13, 0.16])
    assert no_cure.verdict is Explanation.INCONCLUSIVE
    assert "no cure: where it does not collapse its accuracy is 0.147" in no_cure.why
    assert "the commonest class gives 0.149" in no_cure.why
    cure = found([0.5, 0.48, 0.52])
    assert cure.verdict is Explanation.EXPLAINED
    own, other = cure.accuracies
    assert (own.value, other.value) == pytest.approx((0.148, 0.5))
    assert 0.48 in other.interval
    assert 0.149 not in other.interval
    assert cure.commonest == pytest.approx(794 / 5321)


@pytest.mark.parametrize("seeds", [4, 5, 6])
@pytest.mark.parametrize("verdict", [Explanation.NOT_REPRODUCED, Explanation.NOT_EXPLAINED])
def test_verdicts_against_the_question_err_at_their_level(seeds: int, verdict: Explanation) -> None:
    """Both arms where the rate is one half: the probability that any of them has the verdict, by all outcomes."""
    settings = range(2)
    papers = {Explanation.NOT_REPRODUCED: None, Explanation.NOT_EXPLAINED: True}[verdict]
    errors, chances = 0.0, binom.pmf(range(seeds + 1), seeds, 0.5)
    for counts in itertools.product(range(seeds + 1), repeat=2):
        results = [
            replace(result, spec=make_spec("VGG16", arm, **own))
            for arm, count in zip(("ON", "OFF"), counts, strict=True)
            for n in settings
            for s in range(seeds)
            if (result := trial(n, s, s < count if (papers is None or n == 1) else papers))
            if (own := {"validation_fraction": 0.1, "seed": s, **SETTINGS[n]})
        ]
        if any(arm.verdict is verdict for arm in study_collapse(results).arms):
            errors += chances[counts[0]] * chances[counts[1]]
    assert errors <= 0.05
    assert bool(errors) == (seeds == 6)


def diverged(result: TrialResult) -> TrialResult:
    return replace(failed(result, "diverged: the loss became nan in epoch 1/20"), curves_on="test")


def test_losses_that_are_no_numbers_are_said_to_be_so() -> None:
    papers, others = [trial(0, s, True) for s in range(6)], [trial(1, s, False) for s in range(6)]
    arm = off([diverged(r) for r in (*papers, *others)])
    assert arm.verdict is Explanation.NOT_TESTABLE
    assert "every trial diverged" in arm.why

    lost = [failed(r, "out of memory: OOM") for r in papers]
    why = off([*lost, *map(diverged, others)]).why
    assert why == "of 6 trials with the paper's setting, adam 0.001, none came to its end: out of memory: OOM"
    assert "every trial that counts diverged" in off([*lost[:3], *map(diverged, [*papers[3:], *others])]).why

    arm = off([*map(diverged, papers), *others])
    assert arm.verdict is Explanation.EXPLAINED
    assert "(all diverged, the loss NaN or infinite, which is not the one class of the paper)" in arm.why
    assert arm.accuracies[0] is None

    arm = off([*papers, *map(diverged, others)])
    assert arm.verdict is Explanation.INCONCLUSIVE
    assert "the other settings diverged" in arm.obstacle


def test_what_stands_against_a_verdict_is_named() -> None:
    """A setting of one seed cannot be chosen, and escapes: that the others collapse is not all that there is."""
    results = [trial(n, s, True) for n in range(3) for s in range(10)]
    arm = off([*results, trial(3, 0, False)])
    assert arm.verdict is Explanation.INCONCLUSIVE
    assert "fewest of all settings with rmsprop 0.001, 0 of 1" in arm.why
    assert off(results).verdict is Explanation.NOT_EXPLAINED


def test_one_seed_each_says_nothing_of_settings() -> None:
    many = [trial(0, s, True) for s in range(40)]
    one = [trial(1, s, False) for s in (0, 1)]
    arm = off([*many, *one])
    assert arm.verdict is Explanation.INCONCLUSIVE
