"""What a sweep says of its seeds: how few there are, and which trials three of each would add."""

from __future__ import annotations

import pytest

from analysis.collapse.verdict import NUM_ARMS, seeds_for_any_verdict
from analysis.statistics import seeds as decided_by
from galaxytl.trial import TrialSpec
from sweep.planning.seeds import COLLAPSE_SEEDS, MIN_SEEDS, Shortage, lines, shortage

SPEC = TrialSpec(dataset="simulated", dataset_fingerprint="0f")


def with_seeds(*seeds: int, **fields: object) -> list[TrialSpec]:
    return [SPEC.replace(seed=seed, **fields) for seed in seeds]


def test_the_sweep_asks_for_as_many_as_the_analysis() -> None:
    assert decided_by.MIN_SEEDS == MIN_SEEDS


@pytest.mark.parametrize(
    ("own", "num_seeds", "fewest", "missing"),
    [
        ((0,), 1, 1, (1, 2)),
        ((0, 1), 2, 2, (2,)),
        ((7,), 1, 1, (8, 9)),  # --set seed=7
        ((0, 5), 1, 2, (1, 2, 6, 7)),  # --set seed=0,5: each is counted up from
    ],
)
def test_what_three_seeds_add(own: tuple[int, ...], num_seeds: int, fewest: int, missing: tuple[int, ...]) -> None:
    assert shortage(with_seeds(*own), num_seeds) == Shortage(fewest, tuple(with_seeds(*missing)))


def test_three_seeds_or_more_lack_nothing_and_what_is_finished_counts() -> None:
    assert shortage(with_seeds(0, 1, 2), 3) is None
    assert shortage(with_seeds(0, 1, 2), 1) is None  # --set seed=0,1,2
    assert shortage(with_seeds(0), 1, finished=with_seeds(1, 2)) is None
    assert shortage(with_seeds(0), 1, finished=with_seeds(1)) == Shortage(1, tuple(with_seeds(2)))
    assert shortage([], 1) is None


def test_the_collapse_question_wants_as_many_as_each_verdict_does() -> None:
    assert seeds_for_any_verdict(NUM_ARMS) == COLLAPSE_SEEDS
    assert shortage(with_seeds(0, 1, 2), 3, wanted=COLLAPSE_SEEDS) == Shortage(3, tuple(with_seeds(3, 4, 5)), 6)


def test_the_setting_with_the_fewest_counts() -> None:
    found = shortage([*with_seeds(0, 1, 2), *with_seeds(0, learning_rate=1e-4)], 1)
    assert found is not None
    assert found.fewest == 1
    assert set(with_seeds(1, 2, learning_rate=1e-4)) <= set(found.specs)


@pytest.mark.parametrize(
    ("short", "seconds", "second"),
    [
        (Shortage(1, tuple(with_seeds(1, 2))), 7800.0, "--seeds 3 (2 trials more, about 2 h 10 min more here)"),
        (Shortage(2, tuple(with_seeds(2))), None, "--seeds 3 (1 trial more)"),
        (Shortage(3, tuple(with_seeds(3, 4)), 5), None, "--seeds 5 (2 trials more)"),
    ],
)
def test_two_lines_say_it(short: Shortage, seconds: float | None, second: str) -> None:
    said = lines(short, seconds)
    assert said[0].startswith(f"Seeds     {short.fewest} a setting: ")
    assert said[1].strip() == second
    assert all(len(line) <= 80 for line in said)
