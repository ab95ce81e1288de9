"""How a grid is cut into parts for drivers that tell each other nothing."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galaxytl.networks.blocks import Structure
from galaxytl.trial import TrialSpec
from sweep.planning.costs import Sizes
from sweep.planning.shards import WORTH_STORING, Part, cut
from tests.sweep.fakes import SIZES, TOY, toy_spec

LARGE = {
    (name, 32): dataclasses.replace(
        TOY, blocks=tuple(dataclasses.replace(b, multiply_adds=b.multiply_adds * times) for b in TOY.blocks)
    )
    for name, times in (("Toy", 10**3), ("Large", 10**4))
}
"""Networks of which a data-centre GPU takes 0.7 and 7 ms an image."""
SPEC = st.builds(
    lambda name, depth, rate, seed: toy_spec(
        backbone=name, unfrozen_blocks=depth, learning_rate=rate, seed=seed, weights="random"
    ),
    st.sampled_from(("Toy", "Large")),
    st.sampled_from((0, 1, 2, "all")),
    st.sampled_from([10.0**-i for i in range(1, 8)]),
    st.integers(0, 2),
)
SPECS = st.lists(SPEC, min_size=0, max_size=40, unique_by=lambda spec: spec.trial_id)


def parts_of(
    specs: Sequence[TrialSpec], number: int, structures: dict[tuple[str, int], Structure] = LARGE
) -> list[Part]:
    return list(cut(specs, number, structures, dict.fromkeys((spec.split_key for spec in specs), Sizes(600, 100, 300))))


@settings(max_examples=60, deadline=None)
@given(SPECS, st.integers(1, 12))
def test_parts_have_every_trial_once_and_no_part_is_much_longer_than_its_share(
    specs: list[TrialSpec], number: int
) -> None:
    """The bound: what is placed last on the longest part found none shorter, and is a share of a family, with its
    stored activations, and at most one group more. And each number of parts is cut alike whenever it is."""
    parts = parts_of(specs, number)
    assert len(parts) == number
    every = [spec for part in parts for spec in part.specs]
    assert sorted(spec.trial_id for spec in every) == sorted(spec.trial_id for spec in specs)
    assert [part.specs for part in parts] == [tuple(spec for spec in specs if spec in part.specs) for part in parts]
    longest = max((parts_of(group, 1)[0].seconds for group in groups_of(specs)), default=0.0)
    total = sum(part.seconds for part in parts)
    assert max(part.seconds for part in parts) <= 2 * total / number + (1 + WORTH_STORING) * longest + 1e-6
    assert parts == parts_of(specs, number)


def groups_of(specs: Sequence[TrialSpec]) -> list[list[TrialSpec]]:
    """What one worker trains together, where nothing is parted."""
    found: dict[object, list[TrialSpec]] = {}
    for spec in specs:
        found.setdefault(spec.group_key, []).append(spec)
    return list(found.values())


@pytest.mark.parametrize("number", [2, 3, 6])
def test_trials_on_the_same_activations_stay_together_where_that_balances(number: int) -> None:
    """Six seeds of random weights are six families, of equal length: none is torn apart."""
    rates = [10.0**-i for i in range(1, 5)]
    specs = [
        toy_spec(backbone="Large", weights="random", unfrozen_blocks=depth, learning_rate=rate, seed=seed)
        for seed, depth, rate in itertools.product(range(6), (0, 1), rates)
    ]
    parts = parts_of(specs, number)
    assert [len({spec.seed for spec in part.specs}) for part in parts] == [6 // number] * number
    assert max(part.seconds for part in parts) == pytest.approx(min(part.seconds for part in parts))


def test_a_family_longer_than_its_share_is_torn_between_its_groups_and_heads_of_one_pass_never() -> None:
    depths = [toy_spec(backbone="Large", unfrozen_blocks=depth, num_epochs=200) for depth in (0, 1, 2, "all")]
    heads = [toy_spec(backbone="Large", unfrozen_blocks=0, learning_rate=10.0**-i, num_epochs=200) for i in range(4, 7)]
    parts = parts_of([*depths, *heads], 4)
    assert sum(bool(part.specs) for part in parts) > 1
    of_heads = [part for part in parts if any(spec.trains_head_only for spec in part.specs)]
    assert len(of_heads) == 1


def test_more_parts_than_groups_leave_some_empty_and_no_trials_leave_all() -> None:
    assert sorted(len(part.specs) for part in parts_of([toy_spec(seed=0), toy_spec(seed=1)], 4)) in (
        [0, 0, 0, 2],
        [0, 0, 1, 1],
    )
    assert [part.specs for part in parts_of([], 2)] == [(), ()]


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="structures must hold every backbone"):
        cut([toy_spec(backbone="Other")], 2, LARGE, {toy_spec().split_key: SIZES})
