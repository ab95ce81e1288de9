from __future__ import annotations

import random

import pytest

from sweep.search.stopping import MIN_OTHERS, SCHEDULERS, Asha, Median, Never, Rule, make_rule


@pytest.mark.parametrize(
    ("num_epochs", "rungs"),
    [(20, {2, 6, 18}), (10, {1, 3, 9}), (9, {1, 3}), (27, {3, 9}), (2, {1}), (1, set()), (100, {11, 33, 99})],
)
def test_asha_decides_at_a_ninth_of_the_epochs_and_three_times_as_many_each_never_at_the_last(
    num_epochs: int, rungs: set[int]
) -> None:
    assert Asha(num_epochs).decides_at == rungs


def test_a_third_of_those_that_come_together_goes_on_whatever_their_order() -> None:
    scores = {name: value / 10 for value, name in enumerate("abcdefghi")}
    for order in (sorted(scores), sorted(scores, reverse=True)):
        stopped = Asha(20).decide(2, {name: scores[name] for name in order})
        assert set(stopped) == set("abcdef")
    assert stopped["a"] == "asha: 0 after epoch 2 is below the best third of 9 trials (0.6)"


def test_alone_the_first_goes_on_and_a_later_one_is_measured_by_it() -> None:
    rule = Asha(20)
    assert rule.decide(2, {"first": 0.5}) == {}
    assert set(rule.decide(2, {"worse": 0.4})) == {"worse"}
    assert rule.decide(2, {"better": 0.6}) == {}
    assert rule.decide(2, {"fourth": 0.55}) == {}  # second of four, of whom two go on: the third is rounded up


def test_whoever_equals_the_last_that_goes_on_goes_on_too() -> None:
    equal = dict.fromkeys("abcdef", 0.15)
    assert Asha(20).decide(2, equal) == {}
    assert set(Asha(20).decide(2, equal | {"g": 0.149})) == {"g"}


def test_rungs_are_apart_from_each_other() -> None:
    rule = Asha(20)
    rule.decide(2, {"a": 0.9, "b": 0.8})
    assert rule.decide(6, {"b": 0.1}) == {}
    assert set(rule.decide(6, {"c": 0.05})) == {"c"}


@pytest.mark.parametrize("make", [Asha, Median])
def test_nothing_is_stopped_between_rungs_or_after_the_last_epoch(make: type[Asha] | type[Median]) -> None:
    rule = make(20)
    scores = {name: value / 10 for value, name in enumerate("abcdefghi")}
    assert {epoch for epoch in range(1, 21) if rule.decide(epoch, scores)} == rule.decides_at <= set(range(1, 20))


@pytest.mark.parametrize("make", [Asha, Median])
def test_hearing_the_same_twice_changes_nothing(make: type[Asha] | type[Median]) -> None:
    """As when a worker died after its report and starts again from its last checkpoint."""
    rule, rng = make(20), random.Random(0)
    epoch = min(rule.decides_at)
    together = [{f"{batch}{i}": rng.random() for i in range(4)} for batch in range(6)]
    for scores in together:
        rule.decide(epoch, scores)
    answers = [rule.decide(epoch, scores) for scores in together]
    assert answers == [rule.decide(epoch, scores) for scores in together]
    assert any(answers)
    assert not all(set(answer) == set(scores) for answer, scores in zip(answers, together, strict=True))


def followed(rule: Rule, batches: list[dict[str, float]]) -> list[set[str]]:
    return [set(rule.decide(epoch, scores)) for scores in batches for epoch in sorted(rule.decides_at)]


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "none"])
def test_a_rule_that_was_told_what_was_kept_decides_like_one_that_heard_it(name: str) -> None:
    rng = random.Random(1)
    batches = [{f"{batch}{i}": rng.random() + (batch < 4) for i in range(3)} for batch in range(8)]
    whole = make_rule(name, 20)
    expected = followed(whole, batches)
    resumed, half = make_rule(name, 20), followed(make_rule(name, 20), batches[:4])
    for scores in batches[:4]:
        for epoch in sorted(resumed.decides_at):
            resumed.record(epoch, scores)
    assert [*half, *followed(resumed, batches[4:])] == expected
    fresh = followed(make_rule(name, 20), batches[4:])
    assert fresh != expected[len(half) :]  # what was kept matters


def test_median_leaves_the_first_fifth_of_the_epochs_alone() -> None:
    assert Median(20).decides_at == set(range(4, 20))
    assert Median(3).decides_at == {1, 2}
    assert Median(1).decides_at == set()


def test_median_compares_the_best_so_far_with_the_others_means_so_far() -> None:
    rule = Median(20)
    rule.record(4, {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4, "low": 0.29, "peaked": 0.26})
    rule.record(5, {"a": 0.2, "b": 0.3, "c": 0.4, "d": 0.5})
    # Of a to d the means are 0.15, 0.25, 0.35 and 0.45, and their median is 0.3; with low's, 0.245, it is 0.25.
    assert rule.decide(5, {"low": 0.2}) == {"low": "median: at best 0.29 up to epoch 5, median of the others 0.3"}
    assert rule.decide(5, {"peaked": 0.0}) == {}


def test_median_wants_others() -> None:
    rule = Median(20)
    few = dict.fromkeys("abcd"[: MIN_OTHERS - 1], 0.9)
    assert rule.decide(4, {**few, "bad": 0.1}) == {}
    assert set(rule.decide(4, {"d": 0.9, "bad": 0.1})) == {"bad"}


def test_median_counts_only_those_that_have_come_as_far_and_does_not_look_ahead() -> None:
    """Others may be further on by now: what they have there is no bar for who is at an earlier epoch."""
    rule = Median(20)
    rule.record(4, dict.fromkeys("abcd", 0.3))
    assert rule.decide(5, {"bad": 0.1}) == {}
    rule.record(5, dict.fromkeys("abcd", 0.9))
    assert rule.decide(4, {"slow": 0.4}) == {}
    assert set(rule.decide(5, {"bad": 0.1})) == {"bad"}


def test_median_keeps_whoever_equals_the_median() -> None:
    assert Median(20).decide(4, dict.fromkeys("abcdef", 0.5)) == {}


def test_no_scheduler_stops_nothing() -> None:
    rule = make_rule("none", 20)
    assert rule.decides_at == frozenset()
    assert rule.decide(2, {"a": 0.0, "b": 1.0}) == {}
    assert [type(make_rule(name, 20)) for name in SCHEDULERS] == [Asha, Median, Never]
