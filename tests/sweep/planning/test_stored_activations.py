"""The chosen cuts are the best ones: against all subsets, costed as a run would go, not as the search adds up."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest

from sweep.planning import stored_activations
from sweep.planning.stored_activations import BYTES_PER_SECOND, Chain, best_cuts


def seconds_of(chain: Chain, stored: Iterable[int]) -> float:
    """What a run costs with these cuts, straight from the definitions."""
    stored = set(stored)
    seconds = 0.0
    for cut in stored - chain.on_disk:
        source = min((s for s in stored if s > cut), default=chain.images)
        moved = chain.row_bytes[source] + chain.row_bytes[cut]
        work = chain.depths[cut] - chain.depths[source]
        seconds += chain.num_rows * (moved / BYTES_PER_SECOND + work / chain.speed)
    for freeze_point, rows in enumerate(chain.rows_read):
        source = min((s for s in stored if s >= freeze_point), default=chain.images)
        work = chain.depths[freeze_point] - chain.depths[source]
        seconds += rows * (chain.row_bytes[source] / BYTES_PER_SECOND + work / chain.speed)
    return seconds


def all_choices(chain: Chain, budget: int) -> list[tuple[int, ...]]:
    subsets = (s for size in range(chain.images + 1) for s in itertools.combinations(range(chain.images), size))
    return [s for s in subsets if sum(chain.stored_bytes(cut) for cut in s) <= budget]


def random_chain(rng: random.Random) -> Chain:
    """Few distinct numbers, so that ties happen; reading and computing cost about the same."""
    blocks = rng.randint(1, 7)
    work = [rng.choice((0, 1, 1, 2, 5)) * 10**6 for _ in range(blocks)]
    return Chain(
        depths=tuple(sum(work[: blocks - cut]) for cut in range(blocks + 1)),
        row_bytes=tuple(rng.choice((1, 2, 4, 8, 30)) * 1000 for _ in range(blocks + 1)),
        num_rows=100,
        rows_read=tuple(rng.choice((0, 0, 50, 100, 300, 2000)) for _ in range(blocks + 1)),
        speed=rng.choice((1e9, 1e11, 1e12)),
        on_disk=frozenset(cut for cut in range(blocks) if rng.random() < 0.2),
    )


def test_no_subset_of_cuts_is_better() -> None:
    """The cases ask for every kind of answer: nothing stored, all freeze points, some, a cut that nobody's is."""
    kinds = set()
    for seed in range(400):
        rng = random.Random(seed)
        chain = random_chain(rng)
        budget = rng.choice((0, 10**5, 5 * 10**5, 10**6, 3 * 10**6, 10**9))
        found = best_cuts(chain, budget)
        choices = all_choices(chain, budget)
        assert found in [tuple(sorted(choice, reverse=True)) for choice in choices]  # within the budget, in order
        best = min(seconds_of(chain, choice) for choice in choices)
        assert seconds_of(chain, found) == pytest.approx(best, rel=1e-9), f"seed {seed}"
        wanted = {cut for cut, rows in enumerate(chain.rows_read[:-1]) if rows}
        other = "other" if set(found) - wanted else "some"
        kinds.add("nothing" if not found else "all" if set(found) == wanted else other)
    assert kinds == {"nothing", "all", "some", "other"}


def test_what_takes_longer_to_store_or_to_read_than_to_compute_is_not_stored() -> None:
    def stored(budget: int, row_bytes: int = 1000, rows_read: int = 1000) -> tuple[int, ...]:
        chain = Chain((10**6, 0), (row_bytes, 3000), num_rows=100, rows_read=(rows_read, 0), speed=1e9)
        return best_cuts(chain, budget)

    assert stored(10**9, rows_read=100) == ()  # one pass in one epoch
    assert stored(10**9) == (0,)
    assert stored(100 * 1000 - 1) == ()  # one byte too few
    assert stored(10**12, row_bytes=10**7, rows_read=10_000) == ()


def test_a_smaller_tensor_before_the_freeze_point_is_stored_where_the_disk_is_small() -> None:
    chain = Chain((9 * 10**6, 8 * 10**6, 0), (5000, 1000, 3000), num_rows=100, rows_read=(1000, 0, 0), speed=1e9)
    assert best_cuts(chain, 5000 * 100) == (0,)
    assert best_cuts(chain, 4999 * 100) == (1,)


def test_what_is_on_disk_is_used_but_counts() -> None:
    chain = Chain((10**6, 0), (1000, 3000), 100, rows_read=(100, 0), speed=1e9, on_disk=frozenset({0}))
    assert best_cuts(chain, 10**9) == (0,)
    assert best_cuts(chain, 100 * 1000 - 1) == ()


def test_twenty_depths_of_a_backbone_of_a_hundred_blocks_take_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, steps, store = random.Random(0), list[int](), stored_activations._store
    monkeypatch.setattr(stored_activations, "_store", lambda *given: steps.append(given[-1]) or store(*given))
    chain = Chain(
        depths=tuple(10**6 * (100 - cut) for cut in range(101)),
        row_bytes=tuple(1000 * rng.randint(1, 50) for _ in range(101)),
        num_rows=1000,
        rows_read=tuple(5000 if cut % 5 == 0 else 0 for cut in range(101)),
        speed=1e9,
    )
    assert 5 < len(best_cuts(chain, 10**8)) < 20  # too small a disk for all
    assert len(steps) < 100_000
